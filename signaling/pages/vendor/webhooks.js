// Webhook endpoints: where the vendor's program is told of events. A new secret is shown once and never asked for again.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tTime } from '../i18n.js';
import { get, remove, Submission } from './api.js';
import { confirmed, onSubmit, value, words } from './form.js';

/**
 * @typedef {object} Endpoint
 * @property {string} id
 * @property {string} url
 * @property {'enabled' | 'disabled'} state
 * @property {string | null} disabled_at
 * @property {'exhausted' | 'gone' | null} disabled_why
 * @property {number} pending
 * @property {string | null} last_success_at
 * @property {string | null} failing_since
 * @property {string | null} last_error
 * @property {string | null} last_error_at
 * @property {string} [secret]
 */

/** @typedef {{ event_id: string, state: 'pending' | 'delivered' | 'failed', error: string | null }} Delivery */

/** How often, and how many times, it is asked what became of a test. */
const ASK_MS = 1_000;
const ASK_TIMES = 20;

/** @type {Endpoint[]} */
let endpoints = [];
/** What was said last of an endpoint. @type {Map<string, () => string>} */
const notes = new Map();
/** Each button's submissions, so that pressing it again after a lost answer does it once. @type {Map<string, Submission>} */
const submissions = new Map();

/** Reads the endpoints anew. */
export async function load() {
  endpoints = (await get('/webhook-endpoints')).items;
  draw();
}

/** @param {string} name */
function submission(name) {
  const known = submissions.get(name) ?? new Submission();
  submissions.set(name, known);
  return known;
}

/** @param {Endpoint} endpoint */
function stateWords(endpoint) {
  if (endpoint.disabled_at) {
    return t(endpoint.disabled_why === 'gone' ? 'hook_gone' : 'hook_exhausted', { at: tTime(endpoint.disabled_at) });
  }
  const { failing_since: since, pending } = endpoint;
  if (since) return t(pending > 0 ? 'hook_failing' : 'hook_failed', { at: tTime(since), pending: String(pending) });
  return endpoint.last_success_at ? t('hook_works', { at: tTime(endpoint.last_success_at) }) : t('hook_unused');
}

function draw() {
  const disabled = endpoints.filter((endpoint) => endpoint.state === 'disabled').length;
  const alert = byId('hook-alert', HTMLElement);
  alert.hidden = disabled === 0;
  setText(alert, disabled ? t('hook_alert', { count: String(disabled) }) : '');
  const items = endpoints.map(item);
  byId('hooks', HTMLElement).replaceChildren(...(items.length ? items : [make('li', { class: 'hint' }, t('none_yet'))]));
}

/** @param {Endpoint} endpoint */
function item(endpoint) {
  const path = `/webhook-endpoints/${endpoint.id}`;
  const note = make('p', { class: 'call-note', role: 'status', 'data-testid': 'hook-note' }, notes.get(endpoint.id)?.() ?? '');
  /** @param {import('../i18n.js').TextKey} name @param {string} kind @param {() => Promise<void>} action */
  const button = (name, kind, action) => {
    const made = make('button', { type: 'button', class: kind, 'data-testid': name.replace('_', '-') }, t(name));
    made.addEventListener('click', async () => {
      made.disabled = true;
      try {
        await action();
      } catch (error) {
        say(endpoint.id, () => words(error));
      } finally {
        made.disabled = false;
      }
    });
    return made;
  };
  const test = button('hook_test', 'plain', async () => {
    const sent = await submission(`${path}/test`).post(`${path}/test`, {});
    say(endpoint.id, () => t('hook_sent'));
    void follow(endpoint.id, sent.event_id);
  });
  const rotate = button('hook_rotate', 'quiet', async () => {
    if (!(await confirmed({ title: t('hook_rotate_title'), text: t('hook_rotate_text'), no: t('hook_no'), yes: t('hook_rotate'), kind: 'main' }))) return;
    showSecret(await submission(`${path}/rotate`).post(`${path}/rotate-secret`, {}));
  });
  const enable = button('hook_enable', 'main', async () => {
    await submission(`${path}/enable`).post(`${path}/enable`, {});
    await submission(`${path}/replay`).post(`${path}/replay`, {});
    say(endpoint.id, () => t('hook_enabled'));
    await load();
  });
  const gone = button('hook_delete', 'danger', async () => {
    if (!(await confirmed({ title: t('hook_delete_title'), text: endpoint.url, no: t('hook_no'), yes: t('hook_delete'), kind: 'danger' }))) return;
    await remove(path);
    await load();
  });
  const error = endpoint.last_error && endpoint.last_error_at
    ? [make('p', { class: 'hint' }, t('hook_error', { error: endpoint.last_error, at: tTime(endpoint.last_error_at) }))]
    : [];
  return make('li', { 'data-testid': 'hook', 'data-state': endpoint.state },
    make('p', { class: 'hook-url' }, endpoint.url),
    make('p', { class: endpoint.state === 'disabled' ? 'trouble' : 'hint', 'data-testid': 'hook-state' }, stateWords(endpoint)),
    ...error, note,
    make('div', { class: 'controls' }, endpoint.state === 'disabled' ? enable : test, rotate, gone));
}

/**
 * Says something beside an endpoint, in whichever language is chosen.
 * @param {string} id
 * @param {() => string} text
 */
function say(id, text) {
  notes.set(id, text);
  draw();
}

/**
 * Watches what becomes of a test.
 * @param {string} id
 * @param {string} event
 */
async function follow(id, event) {
  for (let times = 0; times < ASK_TIMES; times += 1) {
    await new Promise((resolve) => { setTimeout(resolve, ASK_MS); });
    /** @type {Delivery | undefined} */
    let delivery;
    try {
      const list = await get(`/webhook-endpoints/${id}/deliveries?limit=50`);
      delivery = list.items.find((/** @type {Delivery} */ item) => item.event_id === event);
    } catch {
      return; // deleted meanwhile, or nobody knows: the note says that it is under way
    }
    if (delivery && delivery.state !== 'pending') {
      const { state, error } = delivery;
      notes.set(id, () => (state === 'delivered' ? t('hook_arrived') : t('hook_lost', { error: error ?? '' })));
      return load().catch(draw);
    }
  }
}

/** Shows a new secret. @param {Endpoint} endpoint */
function showSecret(endpoint) {
  byId('hook-secret', HTMLInputElement).value = endpoint.secret ?? t('hook_secret_gone');
  byId('hook-secret-box', HTMLElement).hidden = false;
  byId('hook-secret', HTMLElement).focus();
}

const create = new Submission();
onSubmit('hook', async () => {
  const made = await create.post('/webhook-endpoints', { url: value('hook-url') });
  byId('hook-form', HTMLFormElement).reset();
  showSecret(made);
  await load();
});

byId('hook-secret-copy', HTMLElement).addEventListener('click', async () => {
  const input = byId('hook-secret', HTMLInputElement);
  try {
    await navigator.clipboard.writeText(input.value);
    setText(byId('hook-secret-copy', HTMLElement), t('copied'));
  } catch {
    input.select(); // not allowed here: it is marked, so that one key copies it
  }
});
byId('hook-secret-close', HTMLElement).addEventListener('click', () => {
  // It opens what is sent: it does not stay in a page that is left open.
  byId('hook-secret', HTMLInputElement).value = '';
  byId('hook-secret-box', HTMLElement).hidden = true;
  setText(byId('hook-secret-copy', HTMLElement), t('copy'));
});
onLanguage(draw);

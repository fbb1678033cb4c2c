// Making a call: the form, the credit it may need first, and the two links that come out, which can be withdrawn and made anew.

import { byId, setText } from '../dom.js';
import { onLanguage, t, tMoney } from '../i18n.js';
import { decimal } from '../money.js';
import { available, get, Refused, Submission } from './api.js';
import { amount, confirmed, onSubmit, value, words } from './form.js';
import { companions, companionWords, onSetup, plans, planWords } from './setup.js';

/** @typedef {import('./api.js').Links} Links */
/** @typedef {'client' | 'companion'} Party */

const PARTIES = /** @type {const} */ (['client', 'companion']);

const call = new Submission();
const credit = new Submission();
const renewals = { client: new Submission(), companion: new Submission() };
/** Whose links are shown. @type {{ call: string, name: string } | null} */
let linksOf = null;
let made = () => {};

/** @param {() => void} listener is called when there is a new call */
export function onMade(listener) {
  made = listener;
}

/**
 * Fills a select and keeps what was chosen.
 * @param {string} id
 * @param {{ id: string, words: string }[]} choices
 */
function fill(id, choices) {
  const select = byId(id, HTMLSelectElement);
  const chosen = select.value;
  select.replaceChildren(...choices.map((choice) => new Option(choice.words, choice.id)));
  if (choices.some((choice) => choice.id === chosen)) select.value = chosen;
}

function draw() {
  fill('call-plan', plans.map((plan) => ({ id: plan.id, words: planWords(plan) })));
  fill('call-companion', companions.map((companion) => ({ id: companion.id, words: companionWords(companion) })));
  const ready = plans.length > 0 && companions.length > 0;
  byId('call-setup-hint', HTMLElement).hidden = ready;
  byId('call-submit', HTMLButtonElement).disabled = !ready;
  drawShort();
  if (linksOf) setText(byId('links-title', HTMLElement), t('links_title', { name: linksOf.name }));
}

/** What a call on the chosen plan sets aside. */
function price() {
  return plans.find((plan) => plan.id === value('call-plan'))?.hold ?? null;
}

function drawShort() {
  const money = price();
  if (!money) return;
  setText(byId('short-text', HTMLElement), t('short_text', { client: value('call-client'), price: tMoney(money) }));
  setText(byId('short-amount-label', HTMLElement), t('credit_amount_in', { currency: money.currency }));
}

function showShort() {
  const money = price();
  if (!money) return;
  drawShort();
  byId('short', HTMLElement).hidden = false;
  byId('short-amount', HTMLInputElement).value = decimal(money);
  byId('short-order', HTMLInputElement).focus();
}

/**
 * Puts a party's link in its place.
 * @param {Party} party
 * @param {Links} links
 */
function put(party, links) {
  byId(`link-${party}`, HTMLInputElement).value = links[party].url;
  setText(byId(`copy-${party}`, HTMLElement), t('copy'));
  note(party, '');
}

/**
 * Says beside a party's link what became of it.
 * @param {Party} party
 * @param {string} text
 */
function note(party, text) {
  setText(byId(`renew-${party}-note`, HTMLElement), text);
}

/**
 * Shows both links of a call.
 * @param {string} call its id
 * @param {Links} links
 * @param {string} name for whom
 */
export function showLinks(call, links, name) {
  linksOf = { call, name };
  for (const party of PARTIES) put(party, links);
  setText(byId('links-title', HTMLElement), t('links_title', { name }));
  byId('links', HTMLElement).hidden = false;
  byId('links-title', HTMLElement).focus({ preventScroll: true });
  byId('links', HTMLElement).scrollIntoView({ block: 'nearest' });
}

/** @param {Party} party */
async function copy(party) {
  const input = byId(`link-${party}`, HTMLInputElement);
  const button = byId(`copy-${party}`, HTMLElement);
  try {
    await navigator.clipboard.writeText(input.value);
    setText(button, t('copied'));
  } catch {
    input.select(); // not allowed here: it is marked, so that one key copies it
    setText(button, t('copy_by_hand'));
  }
}

/** Withdraws a party's link and shows the new one. @param {Party} party */
async function renew(party) {
  const shown = linksOf;
  if (!shown) return;
  const title = t(party === 'client' ? 'renew_confirm_client' : 'renew_confirm_companion');
  if (!(await confirmed({ title, text: t('renew_confirm_text'), no: t('renew_no'), yes: t('renew_yes'), kind: 'main' }))) return;
  const button = byId(`renew-${party}`, HTMLButtonElement);
  button.disabled = true;
  note(party, '');
  try {
    const links = await renewals[party].post(`/calls/${shown.call}/links`, { party });
    if (shown !== linksOf) return; // closed meanwhile, or another call's links stand there
    put(party, links);
    note(party, t('link_renewed'));
    byId(`copy-${party}`, HTMLElement).focus();
  } catch (error) {
    if (shown === linksOf) note(party, words(error));
  } finally {
    button.disabled = false;
  }
}

onSubmit('call', async () => {
  const name = value('call-name');
  const client = value('call-client');
  setText(byId('call-note', HTMLElement), '');
  try {
    const answer = await call.post('/calls', {
      plan_id: value('call-plan'),
      client_ref: client,
      companion_id: value('call-companion'),
      media: value('call-media'),
      ...(name && { client_name: name }),
    });
    byId('short', HTMLElement).hidden = true;
    for (const id of ['call-client', 'call-name']) byId(id, HTMLInputElement).value = '';
    const links = answer.client?.url && answer.companion?.url ? answer : await get(`/calls/${answer.id}/links`);
    showLinks(answer.id, links, name || client);
    made();
  } catch (error) {
    if (error instanceof Refused && error.code === 'insufficient_funds') showShort();
    else throw error;
  }
});

onSubmit('short', async () => {
  const client = value('call-client');
  const body = { amount: amount(value('short-amount'), price()?.currency ?? ''), order_ref: value('short-order') };
  await credit.post(`/clients/${encodeURIComponent(client)}/credits`, body);
  byId('short-form', HTMLFormElement).reset();
  byId('short', HTMLElement).hidden = true;
  const left = await available(client, body.amount.currency);
  setText(byId('call-note', HTMLElement), left ? t('credited_now_create', { client, available: tMoney(left) }) : t('credited_only'));
  byId('call-submit', HTMLElement).focus();
});

for (const id of ['call-plan', 'call-client']) byId(id, HTMLElement).addEventListener('input', drawShort);
for (const party of PARTIES) {
  byId(`copy-${party}`, HTMLElement).addEventListener('click', () => void copy(party));
  byId(`renew-${party}`, HTMLElement).addEventListener('click', () => void renew(party));
}
byId('links-close', HTMLElement).addEventListener('click', () => {
  linksOf = null;
  byId('links', HTMLElement).hidden = true;
  // The links let anybody in: they do not stay in a page that is left open.
  for (const id of ['link-client', 'link-companion']) byId(id, HTMLInputElement).value = '';
});
onSetup(draw);
onLanguage(draw);

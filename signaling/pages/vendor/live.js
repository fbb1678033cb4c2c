// The live board: every open call with its state and what is left, drawn in place so that nothing moves under a finger.
// It asks every two seconds while it is looked at; between answers the countdown moves by the page's own clock.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tLength, tMoney } from '../i18n.js';
import { clock, timer } from '../call/countdown.js';
import { endWords } from '../call/words.js';
import { get, Submission } from './api.js';
import { showLinks } from './create.js';
import { confirmed, words } from './form.js';

/** @typedef {import('./api.js').Call} Call */

const EVERY_MS = 2_000;
const GIFTS_MIN = [1, 5, 10, 15, 30];

/** @type {Map<string, Card>} */
const cards = new Map();
let asking = false;
let shown = false;

/** One call on the board. */
class Card {
  item = make('li', { class: 'card call-card', 'data-testid': 'call' });
  #call;
  #at = 0;
  #busy = false;
  #title = make('h3', { 'data-testid': 'call-title' });
  #plan = make('p', { class: 'hint' });
  #left = make('p', { class: 'call-left', role: 'timer', 'aria-live': 'off', 'data-testid': 'call-left' });
  #state = make('p', { class: 'call-state', 'data-testid': 'call-state' });
  #present = make('p', { class: 'hint', 'data-testid': 'call-present' });
  #spent = make('p', { class: 'hint', 'data-testid': 'call-spent' });
  #note = make('p', { class: 'call-note', role: 'status', 'data-testid': 'call-note' });
  #links = button('call-links');
  #more = make('summary');
  #wallet = button('call-extend');
  #order = make('input', { maxlength: '100', autocomplete: 'off', spellcheck: 'false', 'data-testid': 'call-order' });
  #orderLabel = make('span');
  #byOrder = button('call-order-submit');
  #beside = make('div', { class: 'beside' }, make('label', { class: 'field' }, this.#orderLabel, this.#order), this.#byOrder);
  #gift = make('select', { 'data-testid': 'call-gift' });
  #giftLabel = make('span');
  #give = button('call-gift-submit');
  #end = button('call-end', 'danger');

  /** @param {Call} call */
  constructor(call) {
    this.#call = call;
    this.item.dataset.id = call.id;
    const wallet = new Submission();
    const order = new Submission();
    const gift = new Submission();
    const end = new Submission();
    const path = `/calls/${call.id}`;
    this.#links.addEventListener('click', () => void this.#act(async () => showLinks(call.id, await get(`${path}/links`), this.#name)));
    this.#wallet.addEventListener('click', () => void this.#change(wallet, `${path}/extend`, {}, t('done_extended')));
    this.#byOrder.addEventListener('click', async () => {
      const order_ref = this.#order.value.trim();
      if (!order_ref) return this.#order.focus();
      if (await this.#change(order, `${path}/extend`, { order_ref }, t('done_extended'))) this.#order.value = '';
    });
    this.#give.addEventListener('click', () => void this.#change(gift, `${path}/extend`, { gift_s: Number(this.#gift.value) }, t('done_given')));
    this.#end.addEventListener('click', async () => {
      const title = t('end_confirm_title', { name: this.#name });
      const sure = await confirmed({ title, text: t('end_confirm_text'), no: t('hang_up_no'), yes: t('hang_up_yes'), kind: 'danger' });
      if (sure) void this.#change(end, `${path}/end`, {}, t('done_ended'));
    });
    const more = make('details', {}, this.#more,
      make('div', { class: 'stack' }, this.#wallet,
        this.#beside,
        make('div', { class: 'beside' }, make('label', { class: 'field' }, this.#giftLabel, this.#gift), this.#give)));
    this.item.append(
      make('div', { class: 'call-card-head' }, make('div', {}, this.#title, this.#plan), this.#left),
      this.#state, this.#present, this.#spent, this.#note, more,
      make('div', { class: 'controls' }, this.#links, this.#end));
    this.label();
    this.update(call);
  }

  get #name() {
    return this.#call.client_name ?? this.#call.client_ref;
  }

  /** Texts that only the language changes. */
  label() {
    setText(this.#links, t('call_links'));
    setText(this.#more, t('call_more'));
    setText(this.#orderLabel, t('call_order'));
    setText(this.#byOrder, t('call_order_submit'));
    setText(this.#giftLabel, t('call_gift'));
    setText(this.#give, t('call_gift_submit'));
    setText(this.#end, t('call_end'));
    const chosen = this.#gift.value || '300';
    this.#gift.replaceChildren(...GIFTS_MIN.map((minutes) => new Option(tLength(minutes * 60), String(minutes * 60))));
    this.#gift.value = chosen;
    this.draw();
  }

  /** @param {Call} call */
  update(call) {
    this.#call = call;
    this.#at = performance.now();
    this.draw();
  }

  draw() {
    const call = this.#call;
    this.item.dataset.state = call.state;
    setText(this.#title, t('call_title', { client: this.#name, companion: call.companion_name }));
    const grade = call.grade_paid ? ` · ${t('grade', { grade: call.grade_paid })}` : '';
    setText(this.#plan, `${call.plan_name} · ${t(call.media === 'video' ? 'media_video' : 'media_audio')}${grade}`);
    setText(this.#state, stateWords(call));
    const here = (/** @type {boolean} */ present) => t(present ? 'present' : 'absent');
    setText(this.#present, t('call_present', { client: here(call.client.present), companion: here(call.companion.present) }));
    const price = tMoney(call.price);
    setText(this.#wallet, call.block_s === null ? t('call_top_up', { price }) : t('call_extend', { length: tLength(call.block_s), price }));
    this.#wallet.hidden = this.#beside.hidden = call.plan_kind === 'flat';
    setText(this.#spent, call.rate ? t('spent', { spent: tMoney(call.spent), held: tMoney(call.held), rate: tMoney(call.rate.per_minute) }) : '');
    const over = call.state === 'ended' || call.state === 'settled';
    for (const control of [this.#wallet, this.#byOrder, this.#give, this.#end, this.#links]) control.disabled = this.#busy || over;
    this.tick();
  }

  tick() {
    const { ms, down } = timer({ ...this.#call, limited: this.#call.paid_s !== null }, this.#at, performance.now());
    setText(this.#left, clock(ms));
    this.#left.dataset.near = String(down && this.#call.state !== 'connecting' && ms <= 60_000);
  }

  /**
   * @param {Submission} submission
   * @param {string} path
   * @param {unknown} body
   * @param {string} said when it was done
   */
  #change(submission, path, body, said) {
    return this.#act(async () => {
      this.update(await submission.post(path, body));
      setText(this.#note, said);
    });
  }

  /**
   * One thing at a time; what goes wrong is said on the card.
   * @param {() => Promise<void>} action
   * @returns {Promise<boolean>} it was done
   */
  async #act(action) {
    if (this.#busy) return false;
    this.#busy = true;
    setText(this.#note, '');
    this.draw();
    try {
      await action();
      return true;
    } catch (error) {
      setText(this.#note, words(error));
      return false;
    } finally {
      this.#busy = false;
      this.draw();
    }
  }
}

/**
 * @param {string} name
 * @param {string} [kind]
 */
function button(name, kind = 'plain') {
  return make('button', { type: 'button', class: kind, 'data-testid': name });
}

/** @param {Call} call */
function stateWords(call) {
  if (call.state === 'landing') return t('board_landing');
  if (call.state === 'live') return t(call.night?.sleep === 'asleep' ? 'board_asleep' : call.night?.sleep === 'drowsy' ? 'board_drowsy' : 'board_live');
  if (call.state === 'paused') return t(call.paused_by === 'client' ? 'board_paused_client' : call.paused_by === 'companion' ? 'board_paused_companion' : 'board_paused_platform');
  if (call.state === 'ended' || call.state === 'settled') return call.end_reason ? endWords(call.end_reason, call.at_fault ?? 'none', 'vendor') : t('end_title');
  const { client, companion } = call;
  if (client.present && companion.present) return t('board_almost');
  return t(client.present ? 'board_waits_companion' : companion.present ? 'board_waits_client' : 'board_waits_both');
}

/** Asks once how the open calls stand. */
export async function refresh() {
  if (asking || !shown || document.visibilityState === 'hidden') return;
  asking = true;
  try {
    const list = /** @type {import('./api.js').List<Call>} */ (await get('/calls?state=open&limit=200'));
    setText(byId('live-note', HTMLElement), '');
    show(list.items);
  } catch (error) {
    setText(byId('live-note', HTMLElement), words(error));
  } finally {
    asking = false;
  }
}

/** @param {Call[]} calls */
function show(calls) {
  const place = byId('calls', HTMLElement);
  const open = new Set(calls.map((call) => call.id));
  for (const [id, card] of cards) {
    if (open.has(id)) continue;
    card.item.remove();
    cards.delete(id);
  }
  for (const call of calls) {
    const card = cards.get(call.id);
    if (card) card.update(call);
    else {
      const fresh = new Card(call);
      cards.set(call.id, fresh);
      place.append(fresh.item);
    }
  }
  byId('calls-empty', HTMLElement).hidden = calls.length > 0;
}

/** @param {boolean} now the board is looked at */
export function setShown(now) {
  shown = now;
  void refresh();
}

setInterval(() => void refresh(), EVERY_MS);
setInterval(() => {
  if (shown) for (const card of cards.values()) card.tick();
}, 250);
document.addEventListener('visibilitychange', () => void refresh());
onLanguage(() => {
  for (const card of cards.values()) card.label();
});

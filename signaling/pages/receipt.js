// A receipt or statement as a document: rows of facts and lines of money, ready for print. It adds nothing up itself.

import { make } from './dom.js';
import { t, tClock, tLength, tMoney, tTime, tWord } from './i18n.js';
import { endWords } from './call/words.js';

/** @typedef {import('./call/wire.js').Receipt} Receipt */

/**
 * @param {HTMLElement} place is emptied first
 * @param {Receipt} receipt
 * @param {import('./call/wire.js').Role | 'vendor'} reader
 * @param {{ titled?: boolean }} [page] whether its title stands above it already
 */
export function drawReceipt(place, receipt, reader, { titled = reader === 'vendor' } = {}) {
  const facts = make('dl', { class: 'facts' });
  /** @type {(label: string, value: string | null | undefined, name: string) => void} */
  const fact = (label, value, name) => {
    if (value) facts.append(make('div', {}, make('dt', {}, label), make('dd', { 'data-testid': `receipt-${name}` }, value)));
  };
  fact(t('fact_plan'), receipt.plan_name, 'plan');
  fact(t('fact_companion'), receipt.companion_name, 'companion');
  fact(t(reader === 'client' ? 'fact_grade_paid' : 'fact_grade_sold'), receipt.grade_paid, 'grade-paid');
  fact(t('fact_grade'), receipt.grade_delivered, 'grade');
  fact(t('receipt_started'), receipt.started_at && tTime(receipt.started_at), 'started');
  fact(t('receipt_ended'), receipt.ended_at && tTime(receipt.ended_at), 'ended');
  fact(t('receipt_delivered'), tLength(receipt.delivered_ms / 1000), 'delivered');
  fact(t('receipt_billed'), receipt.billed_s === undefined ? null : tLength(receipt.billed_s), 'billed');
  for (const cause of /** @type {const} */ (['client', 'companion', 'platform'])) {
    const ms = receipt.paused_ms?.[cause];
    fact(t(`receipt_paused_${cause}`), ms ? tLength(Math.ceil(ms / 1000)) : null, `paused-${cause}`);
  }
  fact(t('receipt_gift'), receipt.gift_s ? tLength(receipt.gift_s) : null, 'gift');
  for (const added of receipt.extensions ?? []) {
    const free = added.kind === 'gift' || added.free;
    const what = added.kind === 'top_up' && added.amount ? tMoney(added.amount) : tLength(added.added_s ?? 0);
    const words = t(free ? 'receipt_added_free' : 'receipt_added', { length: what, by: t(`by_${added.by}`) });
    fact(words, tClock(added.at), 'extension');
  }
  fact(t('receipt_reason'), endWords(receipt.end_reason, receipt.at_fault, reader), 'reason');

  const title = titled ? [] : [make('h2', {}, t(reader === 'companion' ? 'statement_title' : 'receipt_title'))];
  place.replaceChildren(...title, facts, money(receipt), ...rules(receipt));
  place.hidden = false;
}

/** What the figures follow, and how they can be checked. @param {Receipt} receipt */
function rules(receipt) {
  const number = make('p', { class: 'hint id', 'data-testid': 'receipt-number' }, `${t('receipt_call')} ${receipt.call_id}`);
  if (!receipt.record_hash) return [number];
  const keys = `${location.origin}/.well-known/lull-keys.json`;
  return [
    make('p', { class: 'hint', 'data-testid': 'receipt-rounding' }, tWord(`receipt_rounding_${receipt.plan?.rounding ?? 'down'}`, 'receipt_rounding_down')),
    number,
    make('p', { class: 'hint id', 'data-testid': 'receipt-hash' }, `SHA-256 ${receipt.record_hash}`),
    make('p', { class: 'hint' }, t('receipt_verify', { keys })),
  ];
}

/**
 * What a line counts. A window's label is the vendor's own word and stands in front.
 * @param {import('./call/wire.js').Line} line
 */
function lineWords(line) {
  const counted = tWord(`unit_${line.unit}`, 'unit_other', { quantity: line.quantity });
  if (line.label === 'minimum') return t('line_minimum');
  return line.unit === 's' && !['any', 'block'].includes(line.label) ? `${line.label} · ${counted}` : counted;
}

/** @param {Receipt} receipt */
function money(receipt) {
  const body = make('tbody');
  /** @type {(label: string, amount: import('./call/wire.js').Amount | undefined, name: string, kind?: string) => void} */
  const row = (label, amount, name, kind = '') => {
    if (!amount) return;
    const cells = [make('th', { scope: 'row' }, label), make('td', { 'data-testid': `receipt-${name}` }, tMoney(amount))];
    body.append(make('tr', { class: kind }, ...cells));
  };
  for (const line of receipt.lines ?? []) row(lineWords(line), line.amount, 'line');
  row(t('receipt_held'), receipt.held, 'held');
  row(t('receipt_charge'), receipt.charge, 'charge', 'sum');
  row(t('receipt_refund'), receipt.refund, 'refund');
  for (const one of receipt.adjustments ?? []) {
    row(`${t(one.direction === 'to_client' ? 'receipt_back' : 'receipt_again')} · ${tTime(one.at)}`, one.amount, 'adjustment');
  }
  row(t('receipt_earned'), receipt.earned, 'earned', 'sum');
  return make('table', {}, make('caption', { class: 'unseen' }, t('receipt_money')), body);
}

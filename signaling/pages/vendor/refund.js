// Giving back: a form for a settled call and one for a wallet. The server decides what may go back; here are only words and fields.

import { make, setText } from '../dom.js';
import { t, tMoney, tTime, tWord } from '../i18n.js';
import { decimal } from '../money.js';
import { Submission } from './api.js';
import { amount, trouble, words, Wrong } from './form.js';

/** @typedef {import('./api.js').Call} Call */
/** @typedef {import('./api.js').Wallet} Wallet */

/**
 * What of a settled call's charge can still go back.
 * @param {Call} call
 * @returns {import('../call/wire.js').Amount | null} null where nothing was charged
 */
export function left(call) {
  if (!call.charge) return null;
  const sign = (/** @type {'to_client' | 'from_client'} */ direction) => (direction === 'to_client' ? 1 : -1);
  const back = (call.adjustments ?? []).reduce((sum, one) => sum + sign(one.direction) * one.amount.amount, 0);
  return { amount: call.charge.amount - back, currency: call.charge.currency };
}

/**
 * What went back of a call, a line each.
 * @param {Call} call
 */
export function adjustments(call) {
  const lines = (call.adjustments ?? []).map((one) => {
    const what = t(one.direction === 'to_client' ? 'went_back' : 'went_again', { amount: tMoney(one.amount) });
    const why = one.text === null ? one.reason : `${tWord(`reason_${one.reason}`, 'reason_other')}: ${one.text}`;
    return make('li', { 'data-testid': 'settled-adjustment' }, [what, tTime(one.at), why].join(' · '));
  });
  return lines.length ? [make('ul', { class: 'names hint' }, ...lines)] : [];
}

/**
 * What is unfolded and written in forms, which are made anew whenever the page draws again; forgotten once it is sent.
 * @type {Map<string, { open: boolean, values: string[] }>}
 */
const kept = new Map();

/**
 * A form that is folded away until it is wanted.
 * @param {string} key of all forms of a page
 * @param {string} name its parts are told by it in tests
 * @param {string} title
 * @param {[HTMLInputElement | HTMLSelectElement, string][]} fields with their labels
 * @param {string} submit the button's words
 * @param {(sent: () => void) => Promise<void>} post calls back once it is sent
 */
function folded(key, name, title, fields, submit, post) {
  const button = make('button', { type: 'submit', class: 'danger', 'data-testid': `${name}-submit` }, submit);
  const error = make('p', { class: 'trouble', role: 'alert', hidden: '', 'data-testid': `${name}-error` });
  const labels = fields.map(([field, label]) => make('label', { class: 'field' }, make('span', {}, label), field));
  const form = make('form', { class: 'stack' }, ...labels, error, button);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    trouble(error, '');
    try {
      await post(() => kept.delete(key));
    } catch (wrong) {
      trouble(error, wrong instanceof Wrong ? wrong.message : words(wrong));
    } finally {
      button.disabled = false;
    }
  });
  const details = make('details', { 'data-testid': name }, make('summary', {}, title), form);
  const before = kept.get(key);
  details.open = before?.open ?? false;
  fields.forEach(([field], at) => (field.value = before?.values[at] ?? field.value));
  const keep = () => kept.set(key, { open: details.open, values: fields.map(([field]) => field.value) });
  form.addEventListener('input', keep);
  details.addEventListener('toggle', () => details.isConnected && keep());
  return details;
}

/**
 * @param {string} name
 * @param {Record<string, string>} [more]
 */
function field(name, more = {}) {
  return make('input', { required: '', autocomplete: 'off', 'data-testid': name, ...more });
}

/**
 * The form of a settled call; none where nothing is left to give back.
 * @param {Call} call
 * @param {Submission} submission the call's own, kept while the page draws again
 * @param {() => Promise<void>} done
 */
export function refundOfCall(call, submission, done) {
  const most = left(call);
  if (!most || most.amount <= 0) return [];
  const sum = field('refund-amount', { inputmode: 'decimal', value: decimal(most) });
  const reason = field('refund-reason', { maxlength: '500' });
  const from = make('select', { 'data-testid': 'refund-from' }, new Option(t('refund_from_shares'), 'shares'), new Option(t('refund_from_vendor'), 'vendor'));
  /** @type {[HTMLInputElement | HTMLSelectElement, string][]} */
  const fields = [[sum, t('credit_amount_in', { currency: most.currency })], [reason, t('refund_reason')], [from, t('refund_from')]];
  const form = folded(call.id, 'settled-refund', t('refund_title', { left: tMoney(most) }), fields, t('refund_submit'), async (sent) => {
    const body = { amount: amount(sum.value, most.currency), reason: reason.value.trim(), from: from.value };
    await submission.post(`/calls/${call.id}/refunds`, body);
    sent();
    await done();
  });
  return [form];
}

/**
 * The form of a wallet: what the vendor pays back outside leaves it here.
 * @param {string} client
 * @param {Wallet} wallet
 * @param {Submission} submission
 * @param {() => Promise<void>} done
 */
export function refundOfWallet(client, wallet, submission, done) {
  const { available } = wallet;
  if (available.amount <= 0) return [];
  const sum = field('wallet-refund-amount', { inputmode: 'decimal' });
  const order = field('wallet-refund-order', { maxlength: '100', spellcheck: 'false' });
  const note = make('p', { class: 'hint' });
  setText(note, t('wallet_refund_hint'));
  /** @type {[HTMLInputElement | HTMLSelectElement, string][]} */
  const fields = [[sum, t('credit_amount_in', { currency: available.currency })], [order, t('wallet_refund_order')]];
  const form = folded(`${client} ${available.currency}`, 'wallet-refund', t('wallet_refund_title', { available: tMoney(available) }), fields, t('wallet_refund_submit'), async (sent) => {
    const body = { amount: amount(sum.value, available.currency), order_ref: order.value.trim() };
    await submission.post(`/clients/${encodeURIComponent(client)}/refunds`, body);
    sent();
    await done();
  });
  form.append(note);
  return [form];
}

// Calls that are over and paid: a list, for each its receipt and its record as they were kept, and giving money back.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tLength, tMoney, tTime } from '../i18n.js';
import { drawReceipt } from '../receipt.js';
import { endWords } from '../call/words.js';
import { get, Submission } from './api.js';
import { trouble, words } from './form.js';
import { sleepOf } from './night.js';
import { drawRecordings, recordedOf } from './recordings.js';
import { adjustments, refundOfCall } from './refund.js';

/** @typedef {import('./api.js').Call} Call */

/** @type {Call[]} */
let calls = [];
/** @type {string | null} */
let next = null;

/** Of each call, so that a repeated press is the same refund. @type {Map<string, Submission>} */
const submissions = new Map();

/** Reads the newest part of the list. */
export async function load() {
  calls = [];
  next = null;
  await more();
}

async function more() {
  try {
    const after = next ? `&after=${encodeURIComponent(next)}` : '';
    const list = /** @type {import('./api.js').List<Call>} */ (await get(`/calls?state=settled&limit=50${after}`));
    calls.push(...list.items);
    next = list.next_cursor;
    trouble(byId('settled-note', HTMLElement), '');
  } catch (error) {
    trouble(byId('settled-note', HTMLElement), words(error));
  }
  draw();
}

function draw() {
  byId('settled-empty', HTMLElement).hidden = calls.length > 0;
  byId('settled-more', HTMLElement).hidden = next === null;
  byId('settled', HTMLElement).replaceChildren(...calls.map(row));
}

/** @param {Call} call */
function row(call) {
  const name = call.client_name ?? call.client_ref;
  const receipt = make('button', { type: 'button', class: 'plain', 'data-testid': 'settled-receipt' }, t('show_receipt'));
  const record = make('button', { type: 'button', class: 'plain', 'data-testid': 'settled-record' }, t('show_record'));
  receipt.addEventListener('click', () => void view(t('receipt_title'), async (place) => drawReceipt(place, await get(`/calls/${call.id}/receipt`), 'vendor')));
  record.addEventListener('click', () => void view(t('record_title'), async (place) => {
    const body = await get(`/calls/${call.id}/record`);
    place.replaceChildren(...sleepOf(body), ...recordedOf(body), make('pre', { 'data-testid': 'record' }, JSON.stringify(body, null, 2)));
  }));
  const recordings = make('button', { type: 'button', class: 'plain', 'data-testid': 'settled-recordings' }, t('show_recordings'));
  recordings.addEventListener('click', () => void view(t('show_recordings'), (place) => drawRecordings(place, call.id)));
  const money = call.charge ? t('settled_money', { charge: tMoney(call.charge), refund: call.refund ? tMoney(call.refund) : '–' }) : '';
  return make('li', { class: 'card call-card', 'data-testid': 'settled', 'data-id': call.id },
    make('h3', {}, t('call_title', { client: name, companion: call.companion_name })),
    make('p', { class: 'hint' }, [call.plan_name, call.ended_at && tTime(call.ended_at), tLength(call.delivered_ms / 1000)].filter(Boolean).join(' · ')),
    make('p', {}, endWords(call.end_reason ?? '', call.at_fault ?? 'none', 'vendor')),
    make('p', {}, money),
    ...adjustments(call),
    ...refundOfCall(call, submission(call.id), () => reload(call.id)),
    make('div', { class: 'controls' }, receipt, record, recordings));
}

/** @param {string} id */
function submission(id) {
  const one = submissions.get(id) ?? new Submission();
  submissions.set(id, one);
  return one;
}

/** Reads one call of the list again. @param {string} id */
async function reload(id) {
  const fresh = /** @type {Call} */ (await get(`/calls/${id}`));
  calls = calls.map((call) => (call.id === id ? fresh : call));
  draw();
}

/**
 * @param {string} title
 * @param {(place: HTMLElement) => Promise<void>} drawIt
 */
async function view(title, drawIt) {
  const place = byId('view-body', HTMLElement);
  setText(byId('view-title', HTMLElement), title);
  place.replaceChildren(t('opening'));
  byId('view-dialog', HTMLDialogElement).showModal();
  try {
    await drawIt(place);
  } catch (error) {
    place.replaceChildren(words(error));
  }
}

/** The links of a month: of the calendar that hangs where the vendor is. */
function aimExport() {
  const month = byId('export-month', HTMLInputElement).value;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
  for (const format of ['csv', 'jsonl']) {
    const link = byId(`export-${format}`, HTMLAnchorElement);
    if (/^\d{4}-\d{2}$/.test(month)) link.href = `/v1/records?month=${month}&format=${format}&tz=${encodeURIComponent(zone)}`;
    else link.removeAttribute('href');
  }
}

const today = new Date();
byId('export-month', HTMLInputElement).value = `${today.getFullYear()}-${String(today.getMonth() + 1).padStart(2, '0')}`;
byId('export-month', HTMLInputElement).addEventListener('input', aimExport);
aimExport();
byId('settled-more', HTMLElement).addEventListener('click', () => void more());
byId('view-print', HTMLElement).addEventListener('click', () => print());
onLanguage(draw);

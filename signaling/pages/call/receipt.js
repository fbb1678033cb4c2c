// The receipt page: shows what a call came to, to whom the link is for, long after the link opens no call any more.
// It joins nothing and keeps nothing; the token stays behind the `#`, so that the page can be opened again.

import { byId, setText, showScreen } from '../dom.js';
import { onLanguage, t } from '../i18n.js';
import { drawReceipt } from '../receipt.js';
import { chargeWords, errorWords } from './words.js';

/** @typedef {import('./wire.js').Receipt} Receipt */

/** @type {Receipt | null} */
let receipt = null;
/** Why there is none: a code of the wire, or `not_settled`. */
let why = '';

function draw() {
  if (why) setText(byId('problem-text', HTMLElement), why === 'not_settled' ? t('receipt_not_yet') : errorWords(why));
  if (!receipt) return;
  const reader = receipt.earned ? 'companion' : 'client';
  document.body.dataset.reader = reader;
  const heading = t(reader === 'companion' ? 'statement_title' : 'receipt_title');
  document.title = `${heading} ${receipt.call_id}`; // also the name of the file, where printing makes one
  setText(byId('receipt-heading', HTMLElement), heading);
  const promise = byId('receipt-promise', HTMLElement);
  promise.hidden = reader === 'companion';
  setText(promise, reader === 'client' ? chargeWords(receipt) : '');
  setText(byId('print', HTMLElement), t(reader === 'companion' ? 'print_statement' : 'print'));
  drawReceipt(byId('receipt', HTMLElement), receipt, reader, { titled: true });
}

async function open() {
  const token = location.hash.slice(1);
  try {
    if (!token) throw new Error('no_token');
    const response = await fetch('/v1/join/receipt', { headers: { authorization: `Bearer ${token}` }, cache: 'no-store' });
    const body = await response.json();
    if (response.ok) receipt = /** @type {Receipt} */ (body);
    else why = body?.code === 'not_found' ? 'not_settled' : String(body?.code ?? 'internal');
  } catch (error) {
    why = error instanceof Error && error.message === 'no_token' ? 'no_token' : 'offline';
  }
  draw();
  showScreen(receipt ? 'receipt' : 'problem');
}

byId('print', HTMLElement).addEventListener('click', () => print());
byId('problem-retry', HTMLElement).addEventListener('click', () => location.reload());
addEventListener('hashchange', () => location.reload());
onLanguage(draw);
await open();

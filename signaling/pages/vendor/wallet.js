// A client's wallets: what is in them, their newest movements, and paying back.

import { byId, make } from '../dom.js';
import { onLanguage, t, tMoney, tTime } from '../i18n.js';
import { get, Submission } from './api.js';
import { onSubmit, value } from './form.js';
import { refundOfWallet } from './refund.js';

/** @typedef {import('./api.js').Wallet} Wallet */

/** Lines of a statement that are shown. */
const LINES = 20;

/** @type {{ client: string, wallets: { wallet: Wallet, lines: import('./api.js').Line[], submission: Submission }[] } | null} */
let shown = null;

/** @param {string} client */
async function look(client) {
  const path = `/clients/${encodeURIComponent(client)}`;
  /** @type {{ wallets: Wallet[] }} */
  const { wallets } = await get(path);
  const all = await Promise.all(wallets.map(async (wallet) => {
    const { items } = await get(`${path}/transfers?limit=${LINES}&currency=${wallet.posted.currency}`);
    return { wallet, lines: items, submission: new Submission() };
  }));
  shown = { client, wallets: all };
  draw();
}

function draw() {
  const place = byId('wallets', HTMLElement);
  if (!shown) return place.replaceChildren();
  const { client, wallets } = shown;
  if (wallets.length === 0) return place.replaceChildren(make('p', {}, t('wallet_empty')));
  place.replaceChildren(...wallets.flatMap(({ wallet, lines, submission }) => [
    make('dl', { class: 'facts' },
      make('div', {}, make('dt', {}, t('wallet_available')), make('dd', { 'data-testid': 'wallet-available' }, tMoney(wallet.available))),
      make('div', {}, make('dt', {}, t('wallet_held')), make('dd', {}, tMoney(wallet.held)))),
    ...refundOfWallet(client, wallet, submission, () => look(client)),
    make('ul', { class: 'names hint' }, ...lines.map(line)),
  ]));
}

/** @param {import('./api.js').Line} of */
function line(of) {
  const words = [t(`moved_${of.kind}`), tMoney(of.amount), t('moved_balance', { balance: tMoney(of.balance) }), tTime(of.at), of.order_ref, of.text];
  return make('li', { 'data-testid': 'wallet-line' }, words.filter(Boolean).join(' · '));
}

onSubmit('wallet', async () => {
  shown = null;
  draw();
  await look(value('wallet-client'));
});

onLanguage(draw);

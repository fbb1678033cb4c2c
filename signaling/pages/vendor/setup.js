// Plans, companions and credits: what must be there before a call can be sold.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tLength, tMoney } from '../i18n.js';
import { all, available, get, Submission } from './api.js';
import { amount, onSubmit, value } from './form.js';

/** @typedef {import('./api.js').Plan} Plan */
/** @typedef {import('./api.js').Companion} Companion */

/** @type {Plan[]} */
export let plans = [];
/** @type {Companion[]} */
export let companions = [];
/** @type {import('./api.js').Wallet[] | null} */
let wallets = null;
let changed = () => {};

/** Reads plans and companions anew. */
export async function load() {
  [plans, companions] = await Promise.all([all('/plans'), all('/companions')]);
  draw();
  changed();
}

/** @param {() => void} listener is called when plans or companions changed */
export function onSetup(listener) {
  changed = listener;
}

/** @param {Plan} plan */
export function planWords(plan) {
  const words = [plan.name, ...soldWords(plan), plan.grade && t('grade', { grade: plan.grade })];
  return words.filter(Boolean).join(' · ');
}

/** @param {Plan} plan */
function soldWords(plan) {
  if (plan.kind === 'block' && plan.block_s && plan.price) return [tLength(plan.block_s), tMoney(plan.price)];
  if (plan.price) return [t('length_open'), tMoney(plan.price)];
  const rates = plan.windows?.map((window) => window.rate_minor_per_min) ?? [plan.rate_minor_per_min ?? 0];
  const shown = [Math.min(...rates), Math.max(...rates)].map((rate) => tMoney({ amount: rate, currency: plan.currency }));
  const rate = t('rate_words', { rate: [...new Set(shown)].join('–') });
  return plan.kind === 'until_asleep' ? [t('kind_until_asleep'), rate] : [rate];
}

/** @param {Companion} companion */
export function companionWords(companion) {
  return companion.grade ? `${companion.name} · ${t('grade', { grade: companion.grade })}` : companion.name;
}

function draw() {
  const none = () => make('li', { class: 'hint' }, t('none_yet'));
  byId('plans', HTMLElement).replaceChildren(...(plans.length ? plans.map((plan) => make('li', {}, planWords(plan))) : [none()]));
  const names = companions.map((companion) => make('li', {}, companionWords(companion)));
  byId('companions', HTMLElement).replaceChildren(...(names.length ? names : [none()]));
  drawWallets();
}

function drawWallets() {
  const place = byId('wallets', HTMLElement);
  if (!wallets) return place.replaceChildren();
  if (wallets.length === 0) return place.replaceChildren(make('p', {}, t('wallet_empty')));
  place.replaceChildren(
    ...wallets.map((wallet) =>
      make('dl', { class: 'facts' },
        make('div', {}, make('dt', {}, t('wallet_available')), make('dd', { 'data-testid': 'wallet-available' }, tMoney(wallet.available))),
        make('div', {}, make('dt', {}, t('wallet_held')), make('dd', {}, tMoney(wallet.held))))),
  );
}

const companion = new Submission();
onSubmit('companion', async () => {
  const grade = value('companion-grade');
  const name = value('companion-name');
  await companion.post('/companions', { name, ...(grade && { grade }) });
  byId('companion-form', HTMLFormElement).reset();
  setText(byId('companion-note', HTMLElement), t('companion_made', { name }));
  await load();
});

const credit = new Submission();
onSubmit('credit', async () => {
  const client = value('credit-client');
  const body = { amount: amount(value('credit-amount'), value('credit-currency')), order_ref: value('credit-order') };
  setText(byId('credit-note', HTMLElement), '');
  await credit.post(`/clients/${encodeURIComponent(client)}/credits`, body);
  byId('credit-form', HTMLFormElement).reset();
  const left = await available(client, body.amount.currency);
  setText(byId('credit-note', HTMLElement), left ? t('credited', { client, available: tMoney(left) }) : t('credited_only'));
});

onSubmit('wallet', async () => {
  wallets = null;
  drawWallets();
  wallets = (await get(`/clients/${encodeURIComponent(value('wallet-client'))}`)).wallets;
  drawWallets();
});

onLanguage(draw);

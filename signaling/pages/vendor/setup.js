// Plans, companions and credits: what must be there before a call can be sold.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tLength, tMoney } from '../i18n.js';
import { all, available, Submission } from './api.js';
import { amount, onSubmit, value } from './form.js';

/** @typedef {import('./api.js').Plan} Plan */
/** @typedef {import('./api.js').Companion} Companion */

/** @type {Plan[]} */
export let plans = [];
/** @type {Companion[]} */
export let companions = [];
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
  const words = t('plan_words', { name: plan.name, length: tLength(plan.block_s), price: tMoney(plan.price) });
  return plan.grade ? `${words} · ${t('grade', { grade: plan.grade })}` : words;
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
}

const plan = new Submission();
onSubmit('plan', async () => {
  const grade = value('plan-grade');
  const body = {
    name: value('plan-name'),
    kind: 'block',
    block_s: Number(value('plan-length')) * Number(value('plan-unit')),
    price: amount(value('plan-price'), value('plan-currency')),
    ...(grade && { grade }),
  };
  await plan.post('/plans', body);
  byId('plan-form', HTMLFormElement).reset();
  setText(byId('plan-note', HTMLElement), t('plan_made', { name: body.name }));
  await load();
});

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

onLanguage(draw);

// How calls are settled by why they ended: the vendor's own table, in which she can give clients more than the default and never less. The
// server holds the defaults and refuses what is worse; here the choices are only words.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t, tTime, tWord } from '../i18n.js';
import { endWords } from '../call/words.js';
import { get, put } from './api.js';
import { onSubmit, trouble, value, words } from './form.js';

/** @typedef {'block' | 'metered' | 'flat'} Sold */
/** @typedef {{ flat_min_s: number, rules: Record<string, Record<Sold, string>>, updated_at: string | null }} Policy */

const SOLD = /** @type {const} */ (['block', 'metered', 'flat']);
/** From what the client pays most by to what she pays least by. */
const RULES = { block: ['as_rated', 'exact_delivered', 'free'], metered: ['as_rated', 'exact_delivered', 'free'], flat: ['as_rated', 'free_below_min', 'free'] };
/** Ends that are not the client's doing: by default the second rule, so the first is not offered. */
const OURS = new Set(['companion_left', 'media_timeout_by_companion', 'vendor_ended', 'supervisor_ended', 'media_timeout_by_platform', 'server_fault']);

/** The order of the table: what ran its course, what the client did, what we did. What this page does not know comes last. */
const ORDER = [
  'time_expired', 'funds_exhausted', 'cap_reached', 'max_duration', 'asleep', 'client_left', 'media_timeout_by_client', 'abuse_reported',
  ...OURS,
];

/** @type {Policy | null} */
let policy = null;
/** What was chosen and not saved yet. @type {Map<string, string>} */
const chosen = new Map();

/** Reads the table anew; what was chosen and not saved is kept. */
export async function load() {
  try {
    show(await get('/settlement'));
    trouble(byId('settlement-error', HTMLElement), '');
  } catch (error) {
    trouble(byId('settlement-error', HTMLElement), words(error));
  }
}

/** @param {Policy} read */
function show(read) {
  policy = read;
  const field = byId('settlement-flat-min', HTMLInputElement);
  if (!chosen.has(field.id)) field.value = String(read.flat_min_s / 60);
  draw();
}

/** An end in words; the wire names some by whose line it was. @param {string} ending */
function endingWords(ending) {
  const [reason = '', by = 'none'] = ending.split('_by_');
  return endWords(reason, by, 'vendor');
}

/** @param {string} rule */
function ruleWords(rule) {
  return tWord(`rule_${rule}`, 'rule_as_rated');
}

/** What holds for an end: as chosen, else as the server has it. @param {string} ending @param {Sold} sold */
function rule(ending, sold) {
  return chosen.get(`${ending} ${sold}`) ?? policy?.rules[ending]?.[sold] ?? 'as_rated';
}

function draw() {
  if (!policy) return;
  const place = byId('settlement', HTMLElement);
  const open = new Set([...place.querySelectorAll('details[open]')].map((one) => (one instanceof HTMLElement ? one.dataset.ending : '')));
  const rank = (/** @type {string} */ ending) => (ORDER.includes(ending) ? ORDER.indexOf(ending) : ORDER.length);
  const endings = Object.keys(policy.rules).sort((one, other) => rank(one) - rank(other));
  place.replaceChildren(...endings.map((ending) => {
    const sum = make('span', { class: 'hint' });
    const summarize = () => setText(sum, [...new Set(SOLD.map((sold) => ruleWords(rule(ending, sold))))].join(' · '));
    const cells = SOLD.map((sold) => {
      const [now, rules] = [rule(ending, sold), RULES[sold]];
      const may = rules.slice(OURS.has(ending) ? 1 : 0);
      const select = make('select', { 'data-testid': `rule-${sold}` }, ...(may.includes(now) ? may : [now, ...may]).map((one) => new Option(ruleWords(one), one, false, one === now)));
      select.addEventListener('change', () => {
        chosen.set(`${ending} ${sold}`, select.value);
        setText(byId('settlement-note', HTMLElement), '');
        summarize();
      });
      return make('label', { class: 'field' }, make('span', {}, t(`sold_${sold}`)), select);
    });
    summarize();
    const details = make('details', { 'data-ending': ending }, make('summary', {}, make('span', {}, endingWords(ending)), sum), make('div', { class: 'cells' }, ...cells));
    details.open = open.has(ending);
    return details;
  }));
  setText(byId('settlement-note', HTMLElement), policy.updated_at ? t('settlement_saved', { at: tTime(policy.updated_at) }) : '');
}

onSubmit('settlement', async () => {
  if (!policy) return load();
  /** @type {Policy['rules']} */
  const rules = {};
  for (const ending of Object.keys(policy.rules)) {
    rules[ending] = { block: rule(ending, 'block'), metered: rule(ending, 'metered'), flat: rule(ending, 'flat') };
  }
  const saved = await put('/settlement', { flat_min_s: Math.round(Number(value('settlement-flat-min')) * 60), rules });
  chosen.clear();
  show(saved);
});

byId('settlement-flat-min', HTMLInputElement).addEventListener('input', (event) => {
  const { id, value: text } = /** @type {HTMLInputElement} */ (event.target);
  chosen.set(id, text);
  setText(byId('settlement-note', HTMLElement), '');
});
onLanguage(draw);

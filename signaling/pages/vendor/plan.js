// The form of a new plan: a kind, and only the fields that kind has; rates by the time of day as rows.

import { byId, make, setText } from '../dom.js';
import { onLanguage, t } from '../i18n.js';
import { Submission } from './api.js';
import { amount, onSubmit, value } from './form.js';
import { load } from './setup.js';

/** @typedef {import('../call/wire.js').PlanKind} PlanKind */

const NAMES = /** @type {const} */ (['label', 'rate', 'start', 'end']);
const WORDS = /** @type {const} */ ({ label: 'plan_window_label', rate: 'plan_rate', start: 'plan_window_start', end: 'plan_window_end' });

/** One row of the day. */
class Row {
  #labels = { label: make('span'), rate: make('span'), start: make('span'), end: make('span') };
  #inputs = {
    label: make('input', { required: '', maxlength: '40', autocomplete: 'off', 'data-testid': 'window-label' }),
    rate: make('input', { required: '', inputmode: 'decimal', autocomplete: 'off', 'data-testid': 'window-rate' }),
    start: make('input', { required: '', type: 'time', 'data-testid': 'window-start' }),
    end: make('input', { required: '', type: 'time', 'data-testid': 'window-end' }),
  };
  #remove = make('button', { type: 'button', class: 'quiet', 'data-testid': 'window-remove' });
  item;

  constructor() {
    const fields = NAMES.map((name) => make('label', { class: 'field' }, this.#labels[name], this.#inputs[name]));
    const halves = [make('div', { class: 'pair' }, ...fields.slice(0, 2)), make('div', { class: 'pair even' }, ...fields.slice(2))];
    this.item = make('li', { class: 'inset', 'data-testid': 'window' }, ...halves, this.#remove);
    this.#remove.addEventListener('click', () => {
      rows = rows.filter((row) => row !== this);
      drawRows();
    });
    this.label();
  }

  label() {
    for (const name of NAMES) setText(this.#labels[name], t(WORDS[name]));
    setText(this.#remove, t('plan_window_remove'));
  }

  /** @param {boolean} may there are others */
  set removable(may) {
    this.#remove.hidden = !may;
  }

  /** @param {string} currency */
  read(currency) {
    const { label, start, end, rate } = this.#inputs;
    return { label: label.value.trim(), start: start.value, end: end.value, rate_minor_per_min: amount(rate.value, currency).amount };
  }
}

/** @type {Row[]} */
let rows = [new Row(), new Row()];

function kind() {
  return /** @type {PlanKind} */ (value('plan-kind'));
}

/** Shows the fields of the kind; what is hidden is neither required nor sent. */
function draw() {
  const byTime = byId('plan-by-time', HTMLInputElement).checked;
  for (const part of byId('plan-form', HTMLFormElement).querySelectorAll('fieldset')) {
    const shown = (part.dataset.kinds ?? '').split(' ').includes(kind()) && (part.dataset.byTime ?? String(byTime)) === String(byTime);
    part.hidden = part.disabled = !shown;
  }
  setText(byId('plan-price-label', HTMLElement), t(kind() === 'flat' ? 'plan_price_flat' : 'plan_price'));
  setText(byId('plan-hold-label', HTMLElement), t(kind() === 'until_asleep' ? 'plan_cap' : 'plan_hold'));
}

function drawRows() {
  for (const row of rows) row.removable = rows.length > 1;
  byId('plan-windows', HTMLElement).replaceChildren(...rows.map((row) => row.item));
}

/** What a minute costs, at all times or by rows. @param {string} currency */
function rates(currency) {
  if (!byId('plan-by-time', HTMLInputElement).checked) return { rate_minor_per_min: amount(value('plan-rate'), currency).amount };
  return { tz: value('plan-zone'), windows: rows.map((row) => row.read(currency)) };
}

/** The fields of the kind. @param {string} currency */
function sold(currency) {
  switch (kind()) {
    case 'block':
      return { block_s: Number(value('plan-length')) * Number(value('plan-unit')), price: amount(value('plan-price'), currency) };
    case 'flat':
      return { price: amount(value('plan-price'), currency) };
    case 'per_minute':
      return { ...counted(), ...rates(currency), hold: amount(value('plan-hold'), currency) };
    case 'until_asleep': {
      const hours = Number(value('plan-cap-hours'));
      const cap = amount(value('plan-hold'), currency);
      return { ...counted(), ...rates(currency), currency: cap.currency, cap_minor: cap.amount, ...(hours > 0 && { cap_s: Math.round(hours * 3600) }), ...night() };
    }
  }
}

/** What a call until asleep does at its end; what is left empty is as the server has it. */
function night() {
  const [linger, fade] = [value('plan-linger'), value('plan-fade')];
  return {
    ...(linger && { linger_s: Math.round(Number(linger) * 60) }),
    ...(fade && { fade_s: Number(fade) }),
    ...(byId('plan-probe', HTMLInputElement).checked && { probe: true }),
  };
}

/** What the server itself lets be heard, and whether it may keep what is. */
function sounds() {
  const [chime, waiting, days] = [value('plan-chime'), value('plan-waiting'), Number(value('plan-recording-days'))];
  return {
    ...(chime && { chime_dbfs: chime === 'off' ? null : Number(chime) }),
    ...(waiting && { waiting_sound: waiting === 'on' }),
    ...(days > 0 && { recording_days: days }),
  };
}

function counted() {
  const [first_increment_s, increment_s] = value('plan-count').split('/').map(Number);
  return { first_increment_s, increment_s };
}

const plan = new Submission();
onSubmit('plan', async () => {
  const currency = value('plan-currency');
  const grade = value('plan-grade');
  const grace = Number(value('plan-grace'));
  const least = value('plan-minimum');
  const body = {
    name: value('plan-name'),
    kind: kind(),
    ...sold(currency),
    ...sounds(),
    ...(grade && { grade }),
    ...(grace > 0 && { grace_s: grace }),
    ...(least && { min_charge_minor: amount(least, currency).amount }),
  };
  await plan.post('/plans', body);
  byId('plan-form', HTMLFormElement).reset();
  rows = [new Row(), new Row()];
  drawRows();
  draw();
  setText(byId('plan-note', HTMLElement), t('plan_made', { name: body.name }));
  await load();
});

for (const id of ['plan-kind', 'plan-by-time']) byId(id, HTMLElement).addEventListener('input', draw);
byId('plan-window-add', HTMLElement).addEventListener('click', () => {
  rows.push(new Row());
  drawRows();
});
byId('plan-zone', HTMLInputElement).defaultValue = Intl.DateTimeFormat().resolvedOptions().timeZone;
drawRows();
onLanguage(() => {
  for (const row of rows) row.label();
  draw();
});

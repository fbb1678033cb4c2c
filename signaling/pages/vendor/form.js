// What the vendor's forms share: one submission at a time, an error in words beside the button, reading amounts.

import { ask, byId, setText } from '../dom.js';
import { t } from '../i18n.js';
import { parse } from '../money.js';
import { errorWords } from '../call/words.js';
import { Refused } from './api.js';

/**
 * An error as a sentence; the server's own words follow where they say which field is meant.
 * @param {unknown} error
 * @returns {string}
 */
export function words(error) {
  if (!(error instanceof Refused)) throw error;
  const said = errorWords(error.code);
  return ['invalid_request', 'limit_reached'].includes(error.code) && error.detail ? `${said} (${error.field ? `${error.field}: ` : ''}${error.detail})` : said;
}

/**
 * @param {HTMLElement} place
 * @param {string} text empty to hide it
 */
export function trouble(place, text) {
  setText(place, text);
  place.hidden = text === '';
}

/**
 * Submits a form by script: the button is off meanwhile, what goes wrong stands beside it.
 * @param {string} name ids are `{name}-form`, `{name}-submit`, `{name}-error`
 * @param {() => Promise<void>} submit
 */
export function onSubmit(name, submit) {
  const button = byId(`${name}-submit`, HTMLButtonElement);
  const place = byId(`${name}-error`, HTMLElement);
  byId(`${name}-form`, HTMLFormElement).addEventListener('submit', async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    trouble(place, '');
    try {
      await submit();
    } catch (error) {
      trouble(place, error instanceof Wrong ? error.message : words(error));
    } finally {
      button.disabled = false;
    }
  });
}

/**
 * Asks before something that cannot be taken back.
 * @param {{ title: string, text: string, no: string, yes: string, kind: 'main' | 'danger' }} question `kind` is how the yes looks
 * @returns {Promise<boolean>} the person confirmed
 */
export function confirmed({ title, text, no, yes, kind }) {
  setText(byId('confirm-title', HTMLElement), title);
  setText(byId('confirm-text', HTMLElement), text);
  setText(byId('confirm-no', HTMLElement), no);
  setText(byId('confirm-yes', HTMLElement), yes);
  byId('confirm-yes', HTMLElement).className = kind;
  return ask(byId('confirm-dialog', HTMLDialogElement));
}

/** Something in the form that the server need not be asked about. */
export class Wrong extends Error {}

/**
 * @param {string} text
 * @param {string} currency
 * @returns {import('../call/wire.js').Amount}
 */
export function amount(text, currency) {
  const money = parse(text, currency);
  if (!money) throw new Wrong(t('amount_wrong'));
  return money;
}

/** @param {string} id of an input or select */
export function value(id) {
  const element = document.getElementById(id);
  return element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? element.value.trim() : '';
}

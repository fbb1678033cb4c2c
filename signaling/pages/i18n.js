// The page's language: chosen by `?lang=`, then by an earlier choice, then by the browser. Static text carries `data-t`;
// what is drawn from the call is drawn again on a change.

import { en } from './text/en.js';
import { zh } from './text/zh.js';
import * as money from './money.js';

/** @typedef {keyof typeof en} TextKey */
/** @typedef {'en' | 'zh'} Language */

const TEXTS = { en, zh };
const CHOICE = 'lull.language';
const HAN = /\p{Script=Han}/u;

/** @returns {Language} */
function choose() {
  let kept = null;
  try {
    kept = localStorage.getItem(CHOICE);
  } catch {
    kept = null; // storage is forbidden: the choice lasts as long as the page
  }
  const wishes = [new URLSearchParams(location.search).get('lang'), kept, ...navigator.languages];
  for (const wish of wishes) {
    if (wish?.toLowerCase().startsWith('zh')) return 'zh';
    if (wish?.toLowerCase().startsWith('en')) return 'en';
  }
  return 'en';
}

let language = choose();
/** @type {(() => void)[]} */
const listeners = [];

/**
 * A client whom the vendor gave no name.
 * @param {string} before what stands before it
 */
function nameless(before) {
  const word = TEXTS[language].nameless;
  return /(^|[.?!]\s*)$/.test(before) ? word.charAt(0).toUpperCase() + word.slice(1) : word;
}

/**
 * Somebody's name where it stands alone.
 * @param {string} name
 * @returns {string}
 */
export function tName(name) {
  return name || nameless('');
}

/**
 * A text in the page's language; `{name}` is replaced by the value of that name. Whoever has an empty name is the client.
 * @param {TextKey} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  return TEXTS[language][key].replace(/( ?)\{(\w+)\}( ?)/g, (whole, before, name, after, at, text) => {
    const value = name === 'name' && values.name === '' ? nameless(text.slice(0, at)) : String(values[name] ?? `{${name}}`);
    // Chinese stands apart from Latin letters and digits, not from Chinese.
    const first = HAN.test(text[at - 1] ?? '') && HAN.test(value[0] ?? '') ? '' : before;
    const last = HAN.test(text[at + whole.length] ?? '') && HAN.test(value.at(-1) ?? '') ? '' : after;
    return first + value + last;
  });
}

/**
 * A text whose key holds a word of the wire; `otherwise` where this page has no sentence for that word.
 * @param {string} key
 * @param {TextKey} otherwise
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function tWord(key, otherwise, values) {
  return t(Object.hasOwn(en, key) ? /** @type {TextKey} */ (key) : otherwise, values);
}

/** @param {import('./call/wire.js').Amount} amount */
export function tMoney(amount) {
  return money.format(amount, language === 'zh' ? 'zh-CN' : 'en');
}

/**
 * A length of time in words: `15 minutes`, `1 hour 5 minutes`, `20 seconds`.
 * @param {number} seconds
 * @returns {string}
 */
export function tLength(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  /** @type {[number, 'hour' | 'minute' | 'second'][]} */
  const parts = [[Math.floor(whole / 3600), 'hour'], [Math.floor((whole % 3600) / 60), 'minute'], [whole % 60, 'second']];
  const said = parts.filter(([count, unit]) => count > 0 || (whole === 0 && unit === 'second'));
  return said.map(([count, unit]) => t(count === 1 ? `${unit}_one` : `${unit}_many`, { count })).join(t('joint'));
}

/**
 * An instant in the reader's own time zone.
 * @param {string} instant RFC 3339
 * @returns {string}
 */
export function tTime(instant) {
  const date = new Date(instant);
  const style = /** @type {const} */ ({ dateStyle: 'medium', timeStyle: 'medium' });
  return Number.isNaN(date.getTime()) ? instant : new Intl.DateTimeFormat(language === 'zh' ? 'zh-CN' : 'en-GB', style).format(date);
}

/**
 * The time of day of an instant, where the date stands nearby.
 * @param {string} instant RFC 3339
 * @returns {string}
 */
export function tClock(instant) {
  const date = new Date(instant);
  return Number.isNaN(date.getTime()) ? instant : new Intl.DateTimeFormat(language === 'zh' ? 'zh-CN' : 'en-GB', { timeStyle: 'medium' }).format(date);
}

/**
 * Is called now and after each change of the language.
 * @param {() => void} listener
 */
export function onLanguage(listener) {
  listeners.push(listener);
  listener();
}

function apply() {
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  for (const element of document.querySelectorAll('[data-t]')) {
    if (element instanceof HTMLElement && element.dataset.t) element.textContent = t(/** @type {TextKey} */ (element.dataset.t));
  }
  for (const element of document.querySelectorAll('[data-t-label]')) {
    if (element instanceof HTMLElement) element.setAttribute('aria-label', t(/** @type {TextKey} */ (element.dataset.tLabel)));
  }
  const other = language === 'zh' ? 'en' : 'zh';
  const button = document.getElementById('language');
  if (button) {
    button.textContent = other === 'zh' ? '中文' : 'English';
    button.lang = other === 'zh' ? 'zh-CN' : 'en';
  }
  for (const listener of listeners) listener();
}

document.getElementById('language')?.addEventListener('click', () => {
  language = language === 'zh' ? 'en' : 'zh';
  try {
    localStorage.setItem(CHOICE, language);
  } catch {
    // forbidden: the choice lasts as long as the page
  }
  const url = new URL(location.href);
  if (url.searchParams.has('lang')) {
    url.searchParams.set('lang', language);
    history.replaceState(history.state, '', url);
  }
  apply();
});

apply();

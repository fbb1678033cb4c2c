// What the record of a call until asleep says of the night, in words for the vendor: each time the client was taken to be asleep, by whom,
// on which grounds, and what came of it.

import { make } from '../dom.js';
import { t, tLength, tTime, tWord } from '../i18n.js';
import { groundsWords, whyWords } from '../call/words.js';

/** @typedef {{ state: string, since_at: string, why: string } & import('../call/wire.js').Grounds} Verdict */

/**
 * @typedef {object} Linger
 * @property {'ear' | 'companion'} by
 * @property {string} asleep_at
 * @property {Verdict | null} verdict
 * @property {string | null} landed_at
 * @property {boolean} confirmed
 * @property {string | null} woken_at
 * @property {string | null} woken_by
 */

/**
 * @typedef {object} Slept
 * @property {number} linger_s
 * @property {number} fade_s
 * @property {number} landing_ms
 * @property {Verdict | null} last
 * @property {Linger[]} lingers
 */

/** @param {Verdict} verdict */
function verdictWords(verdict) {
  return [t(/** @type {import('../i18n.js').TextKey} */ (`slept_${verdict.state}`)), whyWords(verdict.why, ''), groundsWords(verdict).join(' · ')].filter(Boolean).join(t('joint'));
}

/** @param {Linger} linger */
function lingerWords(linger) {
  const lines = [t(linger.by === 'ear' ? 'slept_by_ear' : 'slept_by_companion', { at: tTime(linger.asleep_at) })];
  if (linger.verdict) lines.push(verdictWords(linger.verdict));
  if (linger.confirmed) lines.push(t('slept_confirmed'));
  if (linger.landed_at) lines.push(t('slept_landed', { at: tTime(linger.landed_at) }));
  if (linger.woken_at) lines.push(t('slept_woken', { at: tTime(linger.woken_at), by: tWord(`slept_woken_by_${linger.woken_by}`, 'slept_woken_by_ear') }));
  return lines;
}

/**
 * The section of a record; none of a call that takes no notice of sleep.
 * @param {{ sleep?: Slept | null }} record
 */
export function sleepOf({ sleep }) {
  if (!sleep) return [];
  const terms = t('slept_terms', { linger: tLength(sleep.linger_s), fade: tLength(sleep.fade_s), landing: tLength(Math.round(sleep.landing_ms / 1000)) });
  const never = sleep.lingers.length ? [] : [make('p', {}, t('slept_never')), ...(sleep.last ? [make('p', {}, verdictWords(sleep.last))] : [])];
  const items = sleep.lingers.map((linger) => make('li', {}, ...lingerWords(linger).map((line) => make('p', {}, line))));
  return [make('section', { class: 'stack', 'data-testid': 'record-sleep' },
    make('h3', {}, t('slept_title')), ...never, ...(items.length ? [make('ul', { class: 'names' }, ...items)] : []), make('p', { class: 'hint' }, terms))];
}

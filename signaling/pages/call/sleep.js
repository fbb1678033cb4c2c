// What the companion sees of a call until asleep: how the client is taken, since when and why, what follows and when, and her two words
// on it. The server decides; this only says it, in words a person can weigh.

import { byId, setText } from '../dom.js';
import { t, tLength, tWord } from '../i18n.js';
import { clock, since, untilChange } from './countdown.js';

/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./wire.js').Grounds} Grounds */

/** Said breath by breath it is a matter of degree; from here on the period counts as even. */
const EVEN_BP = 7_500;
/** Less than this is lost on every line. */
const LOST_BP = 500;

/**
 * The figures a verdict rests on, each a few words.
 * @param {Grounds | null | undefined} grounds
 * @returns {string[]}
 */
function groundsWords(grounds) {
  if (!grounds) return [];
  const { period_ms, constancy_bp = 0, quiet_s = 0, movements = 0, missing_bp = 0, unanswered = 0 } = grounds;
  const words = [];
  if (quiet_s >= 60) words.push(t('ground_quiet', { length: tLength(Math.floor(quiet_s / 60) * 60) }));
  if (period_ms) words.push(t(constancy_bp >= EVEN_BP ? 'ground_even' : 'ground_uneven', { seconds: (period_ms / 1000).toFixed(1) }));
  if (movements > 0) words.push(t(movements === 1 ? 'ground_moved_one' : 'ground_moved_many', { count: movements }));
  if (unanswered > 0) words.push(t(unanswered === 1 ? 'ground_unanswered_one' : 'ground_unanswered_many', { count: unanswered }));
  if (missing_bp >= LOST_BP) words.push(t('ground_lost', { percent: Math.round(missing_bp / 100) }));
  return words;
}

export class Sleep {
  #session;
  #timer = 0;
  #asleep = byId('says-asleep', HTMLButtonElement);
  #awake = byId('says-awake', HTMLButtonElement);

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#asleep.addEventListener('click', () => session.send({ type: 'says_asleep' }));
    this.#awake.addEventListener('click', () => session.send({ type: 'says_awake' }));
  }

  draw() {
    clearTimeout(this.#timer);
    const { view, viewedAt, joined, ending } = this.#session;
    const night = view?.night ?? null;
    const shown = night !== null && view !== null && joined && !ending && view.state !== 'connecting';
    byId('sleep', HTMLElement).hidden = !shown;
    if (!shown) return;
    document.body.dataset.night = 'hers';
    document.body.dataset.phase = night.phase;
    const { name } = view.client;
    const now = performance.now();
    const lasted = night.sleep_for_ms + now - viewedAt;

    setText(byId('sleep-state', HTMLElement), t(`sleep_${night.sleep}`, { name }));
    const minutes = Math.floor(lasted / 60_000);
    setText(byId('sleep-since', HTMLElement), minutes > 0 ? t('sleep_since', { length: tLength(minutes * 60) }) : t('sleep_just'));
    const why = night.why ? tWord(`why_${night.why}`, 'why_other', { name }) : '';
    setText(byId('sleep-why', HTMLElement), why);
    setText(byId('sleep-grounds', HTMLElement), night.sleep === 'unknown' ? '' : groundsWords(night.grounds).join(' · '));
    setText(byId('sleep-suggest', HTMLElement), night.suggest ? t('sleep_suggest', { name }) : '');

    const left = night.phase === 'listening' || night.phase_left_ms == null ? null : since(night.phase_left_ms, true, viewedAt, now);
    setText(byId('sleep-left', HTMLElement), left === null ? '' : clock(left));
    setText(byId('sleep-next', HTMLElement), night.suggest ? '' : t(`sleep_next_${night.phase}`, { name }));
    this.#asleep.disabled = night.phase === 'landing';
    this.#awake.disabled = night.phase === 'listening' && night.sleep === 'awake';
    if (left !== null && left > 0) this.#timer = setTimeout(() => this.draw(), untilChange(left));
  }
}

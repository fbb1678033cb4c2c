// What the companion sees of a call until asleep: how the client is taken, since when and why, what follows and when, and her two words
// on it. The server decides; this only says it, in words a person can weigh.

import { byId, setText } from '../dom.js';
import { t, tLength } from '../i18n.js';
import { clock, since, untilChange } from './countdown.js';
import { groundsWords, whyWords } from './words.js';

/** @typedef {import('./session.js').Session} Session */
export class Sleep {
  #session;
  #timer = 0;
  /** The message in which she said that the client sleeps: once is enough until that is off. @type {number | null} */
  #said = null;
  #phase = '';
  #asleep = byId('says-asleep', HTMLButtonElement);
  #awake = byId('says-awake', HTMLButtonElement);

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#asleep.addEventListener('click', () => {
      this.#said = session.send({ type: 'says_asleep' });
    });
    this.#awake.addEventListener('click', () => session.send({ type: 'says_awake' }));
  }

  /** What she said was refused. @param {number | null} re the message it is about */
  refused(re) {
    if (re !== null && re === this.#said) this.#said = null;
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

    if (this.#phase !== 'listening' && night.phase === 'listening') this.#said = null;
    this.#phase = night.phase;
    const byHer = night.phase !== 'listening' && night.sleep !== 'asleep';
    setText(byId('sleep-state', HTMLElement), t(byHer ? 'sleep_said' : `sleep_${night.sleep}`, { name }));
    const minutes = Math.floor(lasted / 60_000);
    setText(byId('sleep-since', HTMLElement), byHer ? '' : minutes > 0 ? t('sleep_since', { length: tLength(minutes * 60) }) : t('sleep_just'));
    setText(byId('sleep-why', HTMLElement), whyWords(night.why ?? 'starting', name));
    setText(byId('sleep-grounds', HTMLElement), night.sleep === 'unknown' ? '' : groundsWords(night.grounds).join(' · '));
    setText(byId('sleep-suggest', HTMLElement), night.suggest ? t('sleep_suggest', { name }) : '');

    const left = night.phase === 'listening' || night.phase_left_ms == null ? null : since(night.phase_left_ms, true, viewedAt, now);
    setText(byId('sleep-left', HTMLElement), left === null ? '' : clock(left));
    setText(byId('sleep-next', HTMLElement), night.suggest ? '' : t(`sleep_next_${night.phase}`, { name }));
    this.#asleep.disabled = night.phase === 'landing' || view.state === 'paused' || (night.phase === 'lingering' && this.#said !== null);
    this.#awake.disabled = night.phase === 'listening' && night.sleep === 'awake';
    if (left !== null && left > 0) this.#timer = setTimeout(() => this.draw(), untilChange(left));
  }
}

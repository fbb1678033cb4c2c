// Recording, as both parties are asked, told and obeyed: the question with who gets it and for how long, the notice while it runs, a button
// that stops it. It records nothing; the server does, and only while both have said yes.

import { byId, setText } from '../dom.js';
import { t, tWord } from '../i18n.js';

/** @typedef {import('./session.js').Session} Session */

/** The tab's own note of what was answered, so that a reload does not ask again: the call's id and the answer. */
const ANSWER = 'lull.recording';

export class Recording {
  #session;
  #changed;
  /** What was answered here and may not have reached the server yet. @type {string | null} */
  #answer = null;
  #saidAt = -Infinity;
  #card = byId('recording', HTMLElement);
  #yes = byId('recording-yes', HTMLButtonElement);
  #no = byId('recording-no', HTMLButtonElement);

  /**
   * @param {Session} session
   * @param {() => void} changed is called when it is to be drawn again
   */
  constructor(session, changed) {
    this.#session = session;
    this.#changed = changed;
    this.#yes.addEventListener('click', () => this.#say(true));
    this.#no.addEventListener('click', () => this.#say(false));
    byId('recording-stop', HTMLElement).addEventListener('click', () => this.#say(false));
  }

  /** @param {'check' | 'ring' | 'call'} screen where the question stands now */
  draw(screen) {
    const { view, role, other, viewedAt } = this.#session;
    const recording = view?.recording ?? null;
    const running = recording?.running ?? false;
    byId('recording-notice', HTMLElement).hidden = !running || screen !== 'call';
    setText(byId('recording-words', HTMLElement), running ? t('recording_runs') : '');
    this.#card.hidden = !recording || running;
    if (!recording || !role || !other) return;
    const place = byId(`recording-${screen}`, HTMLElement);
    if (this.#card.parentElement !== place) place.append(this.#card);

    const answer = this.#answered();
    // What was just said counts until the server has spoken.
    const yes = viewedAt < this.#saidAt ? answer === 'yes' : recording[role];
    const open = !yes && answer === null && !recording.stopped;
    const theirs = recording[role === 'client' ? 'companion' : 'client'];
    setText(byId('recording-title', HTMLElement), t(yes ? 'recording_allowed' : open ? 'recording_question' : recording.stopped ? 'recording_over' : 'recording_refused'));
    /** @type {string} */
    let words;
    if (yes) words = t(theirs ? 'recording_begins' : 'recording_waits', { name: other.name });
    else if (open) words = t('recording_asked', { kept: t(recording.keep_days === 1 ? 'day_one' : 'day_many', { count: recording.keep_days }) });
    else if (recording.stopped) words = tWord(`recording_${recording.stopped}`, 'recording_failed');
    else words = t(answer === 'no' ? 'recording_not' : 'recording_needs');
    setText(byId('recording-text', HTMLElement), words);
    this.#yes.hidden = yes;
    this.#no.hidden = !yes && !open;
    setText(this.#yes, t(open ? 'recording_yes' : 'recording_after_all'));
    setText(this.#no, t(yes ? 'recording_take_back' : 'recording_no'));
  }

  /** @returns {string | null} `yes`, `no` or null: not asked yet */
  #answered() {
    if (this.#answer) return this.#answer;
    try {
      const [id, answer] = (sessionStorage.getItem(ANSWER) ?? '').split(' ');
      return id === this.#session.view?.id ? (answer ?? null) : null;
    } catch {
      return null; // storage is forbidden: a reload asks again
    }
  }

  /** @param {boolean} consent */
  #say(consent) {
    this.#answer = consent ? 'yes' : 'no';
    this.#saidAt = performance.now();
    try {
      sessionStorage.setItem(ANSWER, `${this.#session.view?.id} ${this.#answer}`);
    } catch {
      // forbidden: see above
    }
    this.#session.send({ type: 'record', consent });
    this.#changed();
  }
}

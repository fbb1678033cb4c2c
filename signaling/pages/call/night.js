// The client's page in a call until asleep: nearly black, with one large button that says "I'm here". It tells the server of every touch
// and shows what follows; that somebody sleeps it never decides. Nothing in it moves, sounds or lights up by itself.

import { byId, setText } from '../dom.js';
import { t, tLength, tMoney } from '../i18n.js';
import * as wake from './wake.js';

/** @typedef {import('./session.js').Session} Session */

/** Touches that are told: one a second while they would stop the fading, else one now and then. */
const TELL_EVERY_MS = 1_000;
const TELL_SELDOM_MS = 10_000;
/** How long an answer to a touch stands there. */
const ANSWER_MS = 8_000;
const DARK = '#050403';
const USUAL = '#17120f';

export class Night {
  #session;
  #light = false;
  /** It was a call until asleep when the last view of it came in. */
  #wasNight = false;
  #morning = false;
  #toldAt = -Infinity;
  #answered = false;
  #timer = 0;
  #here = byId('here', HTMLButtonElement);

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#here.addEventListener('click', () => this.#touched(true));
    // Whoever touches the page is awake, whatever she touches.
    for (const touch of ['pointerdown', 'keydown']) document.addEventListener(touch, () => this.#touched(false), { capture: true });
    byId('night-light', HTMLElement).addEventListener('click', () => {
      this.#light = !this.#light;
      this.draw();
    });
    wake.onWake(() => this.draw());
  }

  /**
   * The call is over and she may sleep: no bright page for her now.
   * @param {string} reason
   */
  staysDark(reason) {
    if (this.#morning) return false;
    const begun = (this.#session.view?.delivered_ms ?? 0) > 0;
    return reason === 'asleep' || (this.#wasNight && !this.#light && begun && reason !== 'client_left');
  }

  /** What is said before the call: how it ends, what is heard, what a locked phone does. */
  drawBefore() {
    const { view } = this.#session;
    const place = byId('check-night', HTMLElement);
    place.hidden = !view?.night;
    if (!view?.night) return;
    const { name } = view.companion;
    setText(byId('check-night-ends', HTMLElement), t('night_ends', { name }));
    const limit = { length: tLength(view.paid_s), price: tMoney(view.held ?? view.price) };
    setText(byId('check-night-limit', HTMLElement), view.limited ? t('night_limit', limit) : t('night_limit_open'));
    byId('check-night-screen', HTMLElement).hidden = wake.canHold;
  }

  draw() {
    const { view, devices, joined, ending } = this.#session;
    const night = view?.night ?? null;
    const shown = night !== null && joined && !ending;
    this.#wasNight ||= shown;
    byId('night', HTMLElement).hidden = !shown;
    if (shown) this.#paint(this.#light ? 'light' : 'dark');
    if (!shown || !view) return;

    const falling = night.phase !== 'listening' && view.state !== 'connecting';
    // A screen reader says nothing aloud to somebody who falls asleep.
    for (const id of ['state', 'line', 'notice', 'night-note']) byId(id, HTMLElement).setAttribute('aria-live', falling ? 'off' : 'polite');
    document.body.dataset.phase = night.phase;
    const { name } = view.companion;
    const words = { lingering: t('night_lingering', { name }), landing: t('night_landing', { name }), listening: '' };
    setText(byId('night-state', HTMLElement), falling ? words[night.phase] : '');
    this.#drawAnswer(falling);

    const deaf = devices.muted || !devices.microphone;
    const notes = [deaf && t(devices.microphone ? 'night_muted' : 'night_listening_only'), wake.isLost() && t('night_screen_lost')];
    setText(byId('night-note', HTMLElement), notes.filter(Boolean).join(t('joint')));
    const light = byId('night-light', HTMLButtonElement);
    light.setAttribute('aria-pressed', String(this.#light));
    setText(light, t(this.#light ? 'night_dark' : 'night_light'));
  }

  /**
   * The page as it is left for the night.
   * @param {'dark' | 'light' | null} look null: as by day
   */
  #paint(look) {
    if (look) document.body.dataset.night = look;
    else delete document.body.dataset.night;
    const colour = document.querySelector('meta[name=theme-color]');
    if (colour instanceof HTMLMetaElement) colour.content = look === 'dark' ? DARK : USUAL;
  }

  /** Stays dark after the end. */
  stay() {
    this.#paint('dark');
  }

  /** It is morning. */
  wakeUp() {
    this.#morning = true;
    this.#paint(null);
  }

  /** @param {boolean} meant by the large button */
  #touched(meant) {
    const { view, joined, ending } = this.#session;
    if (!view?.night || !joined || ending) return;
    void wake.take(); // a touch may get what the browser refused before
    const now = performance.now();
    const urgent = meant || view.night.phase !== 'listening';
    if (now - this.#toldAt >= (urgent ? TELL_EVERY_MS : TELL_SELDOM_MS)) {
      this.#toldAt = now;
      this.#session.send({ type: 'im_here' });
    }
    if (!urgent) return;
    clearTimeout(this.#timer);
    this.#answered = true;
    this.draw();
    this.#timer = setTimeout(() => {
      this.#answered = false;
      this.draw();
    }, ANSWER_MS);
  }

  /**
   * That the call goes on is said once it does: the server has to hear of the touch first.
   * @param {boolean} falling
   */
  #drawAnswer(falling) {
    setText(byId('here-note', HTMLElement), this.#answered && !falling ? t('here_heard') : '');
  }
}

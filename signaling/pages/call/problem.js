// The screen for when this page has no part in the call: why, and what the person can do.

import { byId, setText, showScreen } from '../dom.js';
import { t } from '../i18n.js';
import { errorWords } from './words.js';

/** What opening the page again may cure. */
const CURABLE = new Set(['replaced', 'token_early', 'origin_forbidden', 'offer_invalid', 'invalid_message', 'too_large', 'rate_limited']);

/** This browser can carry calls at all; some in-app browsers cannot. */
export function canCall() {
  return typeof RTCPeerConnection === 'function' && typeof WebSocket === 'function';
}

export class Problem {
  #code = '';

  constructor() {
    byId('problem-retry', HTMLButtonElement).addEventListener('click', () => location.reload());
    // A link pasted over another one only changes what stands behind the `#`.
    addEventListener('hashchange', () => location.reload());
  }

  get shown() {
    return this.#code !== '';
  }

  /** @param {string} code of the wire, or `no_token`, `wrong_page`, `unsupported` */
  show(code) {
    if (this.shown) return;
    this.#code = code;
    document.title = 'lull';
    document.body.dataset.problem = code;
    this.draw();
    showScreen('problem');
  }

  draw() {
    if (!this.shown) return;
    setText(byId('problem-text', HTMLElement), errorWords(this.#code));
    const retry = byId('problem-retry', HTMLButtonElement);
    retry.hidden = !CURABLE.has(this.#code);
    setText(retry, t(this.#code === 'replaced' ? 'problem_here' : 'problem_again'));
  }
}

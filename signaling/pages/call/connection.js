// The line to the server: the WebSocket, and beside it the data channel for when the socket is gone.
// It numbers what it says, drops what arrives twice, reconnects with growing pauses and says hello again.
// It knows nothing of what the messages mean beyond that. A lost socket is never the end of a call.

import { newKey, read, VERSION } from './wire.js';

/**
 * Calls back when the device came into another network, once for each time. Wi-Fi to mobile and back: browsers that know it say so at
 * once, long before a socket is known to be dead. They say as much when only their estimate of the line changed, which is no reason.
 * @param {() => void} changed
 */
export function onNetworkChange(changed) {
  /** @type {(EventTarget & { type?: string }) | undefined} */
  const network = /** @type {any} */ (navigator).connection;
  let type = network?.type;
  let last = -Infinity;
  const once = () => {
    const now = performance.now();
    if (now - last < TOGETHER_MS) return;
    last = now;
    changed();
  };
  addEventListener('online', once);
  network?.addEventListener('change', () => {
    if (network.type === type) return;
    type = network.type;
    once();
  });
}

/** @typedef {import('./wire.js').ToPage} ToPage */
/** @typedef {import('./wire.js').PageBody} PageBody */

/**
 * @typedef {object} Listener
 * @property {(message: ToPage) => void} message each message once; `welcome` on every new socket
 * @property {(open: boolean, broke: boolean) => void} link the socket was greeted, or is gone; `broke`: the one before did not
 *   end by our will, as when the device came into another network
 * @property {(code: string) => void} refused the server will not have this page: no more attempts are made
 */

/** Errors before the welcome that another attempt may cure. */
const PASSING = new Set(['overloaded', 'rate_limited', 'slow_reader', 'storage', 'internal']);

/** What a browser says of one change, it says within this. */
const TOGETHER_MS = 300;
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 10_000;
const WELCOME_WITHIN_MS = 8_000;
const PING_EVERY_MS = 10_000;
const SILENT_AFTER_MS = 25_000;
/** A page that was hidden for longer asks for the call's state again: its own clock may have stood still. */
const STALE_AFTER_MS = 3_000;
/** A socket that lived this long was a good one: the next attempt is made at once. */
const SETTLED_AFTER_MS = 5_000;
const SEEN_MAX = 1_000;
const WAITING_MAX = 32;

export class Connection {
  #token;
  #listener;
  #page = newKey();
  #seq = 0;
  /** @type {Set<number>} */
  #seen = new Set();
  #newestState = 0;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {RTCDataChannel | null} */
  #channel = null;
  #greeted = false;
  /** The socket ended by itself, and none was greeted since. */
  #broke = false;
  #stopped = false;
  #attempts = 0;
  #timer = 0;
  #watch = 0;
  #heardAt = 0;
  #greetedAt = 0;
  #hiddenAt = 0;
  /** @type {string[]} */
  #waiting = [];

  /**
   * @param {string} token the join token from behind the `#`
   * @param {Listener} listener
   */
  constructor(token, listener) {
    this.#token = token;
    this.#listener = listener;
    onNetworkChange(() => this.refresh());
    addEventListener('pageshow', (event) => event.persisted && this.refresh());
    document.addEventListener('visibilitychange', () => {
      // Wall clock: the monotonic one may stand still while a phone sleeps.
      if (document.visibilityState === 'hidden') this.#hiddenAt = Date.now();
      else if (Date.now() - this.#hiddenAt > STALE_AFTER_MS) this.refresh();
    });
  }

  /** Opens the line. */
  open() {
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const socket = new WebSocket(`${location.protocol === 'http:' ? 'ws' : 'wss'}://${location.host}/v1/signal`);
    this.#socket = socket;
    this.#timer = setTimeout(() => socket === this.#socket && !this.#greeted && this.#lost(), WELCOME_WITHIN_MS);
    socket.onopen = () => socket.send(JSON.stringify({ v: VERSION, type: 'hello', token: this.#token, page: this.#page }));
    socket.onmessage = (event) => socket === this.#socket && this.#heard(event.data, true);
    socket.onclose = () => socket === this.#socket && this.#broken();
  }

  /** Closes the line for good. */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#drop();
  }

  /** Opens the line anew at once, to learn how the call stands. */
  refresh() {
    if (this.#stopped) return;
    this.#attempts = 0;
    this.#lost();
  }

  /**
   * The second way, for as long as it is open.
   * @param {RTCDataChannel} channel
   */
  attach(channel) {
    this.#channel = channel;
    channel.onmessage = (event) => channel === this.#channel && this.#heard(event.data, false);
  }

  /**
   * Says something, on every way that is open; else as soon as the socket is back.
   * @param {Exclude<PageBody, { type: 'hello' | 'ping' }>} body
   * @returns {number} the message's number, which an answer or error repeats as `re`
   */
  send(body) {
    this.#seq += 1;
    const text = JSON.stringify({ v: VERSION, seq: this.#seq, ...body });
    let sent = false;
    if (this.#greeted && this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(text);
      sent = true;
    }
    if (this.#channel?.readyState === 'open') {
      try {
        this.#channel.send(text); // the same number on both ways: it counts once
        sent = sent || (body.type !== 'offer' && body.type !== 'ice_restart'); // their answers come by the socket
      } catch {
        // a channel may close between the look and the word
      }
    }
    if (!sent) {
      this.#waiting.push(text);
      if (this.#waiting.length > WAITING_MAX) this.#waiting.shift();
    }
    return this.#seq;
  }

  /** Forgets what still waits to be said: a new offer makes older ones worthless. */
  forgetWaiting() {
    this.#waiting = [];
  }

  /**
   * @param {unknown} data
   * @param {boolean} bySocket
   */
  #heard(data, bySocket) {
    if (bySocket) this.#heardAt = performance.now();
    const message = read(data);
    if (!message) return;
    if (message.type === 'welcome') this.#welcomed();
    else if (message.type === 'pong') return;
    else if (message.type === 'error' && bySocket && !this.#greeted) return this.#refused(message.code);
    else if (message.seq > 0 && !this.#isNew(message)) return;
    this.#listener.message(message);
  }

  /** @param {ToPage} message */
  #isNew(message) {
    if (this.#seen.has(message.seq)) return false;
    this.#seen.add(message.seq);
    if (this.#seen.size > SEEN_MAX) this.#seen.delete(Math.min(...this.#seen));
    if (message.type !== 'state') return true;
    // The two ways may overtake each other: an older state never follows a newer one.
    if (message.seq < this.#newestState) return false;
    this.#newestState = message.seq;
    return true;
  }

  #welcomed() {
    clearTimeout(this.#timer);
    this.#greetedAt = performance.now();
    // The welcome is the newest state there is; a server that was restarted may count anew.
    this.#seen.clear();
    this.#newestState = 0;
    this.#greeted = true;
    for (const text of this.#waiting.splice(0)) this.#socket?.send(text);
    clearInterval(this.#watch);
    this.#watch = setInterval(() => this.#ping(), PING_EVERY_MS);
    const broke = this.#broke;
    this.#broke = false;
    this.#listener.link(true, broke);
  }

  #ping() {
    if (performance.now() - this.#heardAt > SILENT_AFTER_MS) this.#broken();
    else if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ v: VERSION, type: 'ping', at: performance.now() }));
    }
  }

  /** @param {string} code */
  #refused(code) {
    if (PASSING.has(code)) return this.#lost();
    this.stop();
    this.#listener.refused(code);
  }

  #broken() {
    this.#broke = true;
    this.#lost();
  }

  #lost() {
    if (this.#greeted && performance.now() - this.#greetedAt > SETTLED_AFTER_MS) this.#attempts = 0;
    this.#drop();
    clearTimeout(this.#timer);
    if (this.#stopped) return;
    const pause = this.#attempts === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (this.#attempts - 1));
    this.#attempts += 1;
    // Spread over half to one and a half, so that a restarted server does not meet all pages at once.
    this.#timer = setTimeout(() => this.open(), pause * (0.5 + Math.random()));
    this.#listener.link(false, this.#broke);
  }

  #drop() {
    clearInterval(this.#watch);
    this.#greeted = false;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}

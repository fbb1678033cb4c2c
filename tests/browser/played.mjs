// A call of which the server's part is played in the page itself: every state can be shown at once, in any order, without the minutes it
// takes to fall asleep. The sockets and the connection that the page will use are replaced before its own scripts run; pages, style and
// devices are the real ones.

/** @typedef {import('./browser.mjs').Tab} Tab */
/** @typedef {Record<string, any>} View of a call, as `CallView` of the wire */

/**
 * @typedef {object} Played
 * @property {any[]} said what the page said, as messages
 * @property {MediaStreamConstraints[]} opened what it asked its devices for
 * @property {number} locks how often it asked for the screen
 * @property {EventTarget | null} lock what holds the screen
 * @property {(body: Record<string, unknown>) => void} say
 * @property {View} call
 */

const CNY = (/** @type {number} */ amount) => ({ amount, currency: 'CNY' });
const PARTY = { present: true, audio: true, video: false, audio_only: false };

/** A call until asleep as its client sees it before it begins. @type {View} */
const CALL = {
  id: 'call_played', state: 'connecting', media: 'audio', plan_name: '陪到睡着', grade_paid: null, grade_delivered: 'gold', plan_kind: 'until_asleep',
  block_s: 0, price: CNY(6000), rate: { label: 'night', per_minute: CNY(180) }, held: CNY(6000), spent: CNY(0), limited: true, blocks: 0, paid_s: 1980,
  gift_s: 0, delivered_ms: 0, remaining_ms: 1_980_000, running: false, paused_by: null, pause_left_ms: null, client: { name: 'Lin', ...PARTY },
  companion: { name: 'Mei', ...PARTY }, available: CNY(4000), can_extend: false, pay: null, earned: null, gift_left_s: null, end_reason: null,
  at_fault: null, receipt: null, recording: null,
  night: { phase: 'listening', sleep: 'unknown', sleep_for_ms: 0, phase_left_ms: null, why: null, grounds: null, suggest: false },
};

/** The same, as the companion sees it. @type {View} */
const HERS = { ...CALL, held: null, spent: null, available: null, earned: CNY(0), gift_left_s: 3600 };

/** From here on it is talked. */
export const LIVE = { state: 'live', running: true, delivered_ms: 754_000, remaining_ms: 1_226_000, spent: CNY(2340) };

/** What a night is made of. */
export const NIGHT = CALL.night;

/**
 * Plays the server's part in a tab from its next load on.
 * @param {Tab} tab
 * @param {'client' | 'companion'} role
 * @param {{ call?: View, holdsScreen?: boolean }} [how] `call`: what differs from the usual call; `holdsScreen`: the browser grants a wake lock
 */
export async function play(tab, role, { call = {}, holdsScreen = true } = {}) {
  await tab.before(({ role, call, holdsScreen }) => {
    let seq = 0;
    /** @type {Sockets | null} */
    let socket = null;
    /** @type {Played} */
    const played = { said: [], opened: [], locks: 0, lock: null, call, say: (body) => socket?.say(body) };

    class Sockets {
      static OPEN = 1;
      readyState = 0;
      /** @type {(() => void) | null} */
      onopen = null;
      /** @type {((event: { data: string }) => void) | null} */
      onmessage = null;
      /** @type {(() => void) | null} */
      onclose = null;

      constructor() {
        socket = this;
        setTimeout(() => {
          this.readyState = 1;
          this.onopen?.();
        });
      }

      /** @param {string} text */
      send(text) {
        const message = JSON.parse(text);
        played.said.push(message);
        if (message.type === 'hello') this.say({ type: 'welcome', role, call: played.call });
        if (message.type === 'offer') this.say({ type: 'answer', re: message.seq, leg: 'leg_played', sdp: 'played' });
      }

      /** @param {Record<string, unknown>} body */
      say(body) {
        seq += 1;
        const data = JSON.stringify({ v: 1, seq, ...body });
        setTimeout(() => this.onmessage?.({ data }));
      }

      close() {
        this.readyState = 3;
      }
    }

    class Peers {
      connectionState = 'new';
      localDescription = { sdp: 'played' };
      packets = 0;
      ontrack = null;
      /** @type {(() => void) | null} */
      onconnectionstatechange = null;

      addTransceiver() {
        const sender = { track: null, replaceTrack: async () => {}, getParameters: () => ({ encodings: [] }), setParameters: async () => {} };
        return { sender, currentDirection: 'sendrecv' };
      }

      createDataChannel() {
        return { readyState: 'connecting' };
      }

      async createOffer() {
        return {};
      }

      async setLocalDescription() {}

      async setRemoteDescription() {
        this.connectionState = 'connected';
        this.onconnectionstatechange?.();
      }

      async getStats() {
        this.packets += 1;
        return new Map([['in', { type: 'inbound-rtp', packetsReceived: this.packets }]]);
      }

      restartIce() {}
      close() {}
    }

    const { mediaDevices } = navigator;
    const open = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = (wish) => {
      if (wish) played.opened.push(wish);
      return open(wish);
    };
    const request = async () => {
      played.locks += 1;
      if (!holdsScreen) throw new DOMException('played', 'NotAllowedError');
      played.lock = Object.assign(new EventTarget(), { release: async () => {} });
      return played.lock;
    };
    Object.defineProperty(navigator, 'wakeLock', { configurable: true, value: { request } });
    Object.assign(globalThis, { played, WebSocket: Sockets, RTCPeerConnection: Peers });
  }, { role, call: { ...(role === 'client' ? CALL : HERS), ...call }, holdsScreen });
}

/**
 * The server's next word on how the call stands.
 * @param {Tab} tab
 * @param {View} changes
 */
export async function show(tab, changes) {
  await tab.evaluate((changes) => {
    const { played } = /** @type {{ played: Played }} */ (/** @type {unknown} */ (globalThis));
    Object.assign(played.call, changes);
    played.say({ type: 'state', call: played.call });
  }, changes);
}

/**
 * The server refuses the last message of a kind.
 * @param {Tab} tab
 * @param {string} type
 * @param {string} code
 */
export async function refuse(tab, type, code) {
  await tab.evaluate(({ type, code }) => {
    const { played } = /** @type {{ played: Played }} */ (/** @type {unknown} */ (globalThis));
    const re = played.said.findLast((message) => message.type === type).seq;
    played.say({ type: 'error', code, detail: 'played', re });
  }, { type, code });
}

/** The browser lets the screen go, with the page in view: to save power. @param {Tab} tab */
export async function letScreenGo(tab) {
  await tab.evaluate(() => {
    const { played } = /** @type {{ played: Played }} */ (/** @type {unknown} */ (globalThis));
    played.lock?.dispatchEvent(new Event('release'));
  });
}

/**
 * The server says that the call is over.
 * @param {Tab} tab
 * @param {{ reason: string, receipt: View | null }} end
 */
export async function end(tab, { reason, receipt }) {
  await tab.evaluate(({ reason, receipt }) => {
    const { played } = /** @type {{ played: Played }} */ (/** @type {unknown} */ (globalThis));
    played.say({ type: 'ended', reason, at_fault: 'none', receipt });
  }, { reason, receipt });
}

/**
 * What the page did so far: the messages it said but for greetings, what it asked its devices for, how often it asked for the screen.
 * @param {Tab} tab
 */
export function done(tab) {
  return tab.evaluate(() => {
    const { said, opened, locks } = /** @type {{ played: Played }} */ (/** @type {unknown} */ (globalThis)).played;
    return { said, opened, locks };
  });
}

/** How often the page said a message of this kind. @param {Tab} tab @param {string} type */
export async function times(tab, type) {
  return (await done(tab)).said.filter((message) => message.type === type).length;
}

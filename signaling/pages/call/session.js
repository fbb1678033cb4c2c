// One person's part in a call: the line to the server, the leg, the devices, and how they are brought back when they fail.
// Both pages are drawn from it. It believes the server in all that concerns time, money and the end of the call.

import { Connection, onNetworkChange } from './connection.js';
import { Devices } from './devices.js';
import { Leg } from './leg.js';
import * as wake from './wake.js';

/** @typedef {import('./wire.js').CallView} CallView */
/** @typedef {import('./wire.js').ToPage} ToPage */
/** @typedef {import('./wire.js').Receipt} Receipt */
/** @typedef {import('./wire.js').Role} Role */

/**
 * @typedef {object} Ending
 * @property {string} reason
 * @property {string} atFault
 * @property {Receipt | null} receipt null until it is settled
 */

/**
 * @typedef {object} SessionListener
 * @property {() => void} changed something to be drawn changed
 * @property {(message: ToPage) => void} message warnings, extensions and errors, for the page to say
 * @property {(part: 'voice' | 'picture' | 'announcements', track: MediaStreamTrack) => void} track
 * @property {(code: string) => void} refused the page has no part in this call (any more)
 */

/** The tab's own note that it had joined this call, so that a reload goes straight back in. */
const JOINED = 'lull.joined';
const CAMERA_OFF = 'lull.camera_off';
const MUTED = 'lull.muted';
const NIGHT = 'lull.night';

/** A short loss of packets heals by itself. */
const RESTART_AFTER_MS = 1_500;
/** After this an ICE restart has failed and the page joins anew. */
const RESTART_WITHIN_MS = 6_000;
/** After this a join has failed. */
const JOIN_WITHIN_MS = 12_000;
const LONGEST_PAUSE_MS = 10_000;
const LOOK_EVERY_MS = 400;
/** An open microphone always sends: after this without a packet the person is told. Browsers need twice as long. */
const STALLED_AFTER_MS = 2_500;
/** Whose line it is cannot be told so early, but a restart is cheap, and in time for sound to be back within three seconds. */
const STALLED_RESTART_MS = 1_200;
/** A restart without an answer by then was said into a socket that is dead. */
const ANSWER_WITHIN_MS = 700;
const RECEIPT_ATTEMPTS = 12;
/** Answers to an offer that another attempt will not change; the call's state says the rest. */
const FINAL = new Set(['call_ended', 'token_expired', 'token_revoked', 'token_invalid', 'offer_invalid', 'replaced']);

/**
 * What this tab noted for its own reload.
 * @param {string} name
 * @returns {string | null}
 */
function note(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null; // storage is forbidden: a reload asks again
  }
}

/**
 * @param {string} name
 * @param {string | null} value null to forget it
 */
function setNote(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, value);
  } catch {
    // forbidden: see above
  }
}

export class Session {
  /** @type {Role | null} */
  role = null;
  /** @type {CallView | null} */
  view = null;
  /** `performance.now()` at the arrival of `view`. */
  viewedAt = 0;
  /** The socket is greeted. */
  linked = false;
  /** @type {'none' | 'joining' | 'connected' | 'lost'} */
  transport = 'none';
  /** @type {Ending | null} */
  ending = null;
  /** Nothing is heard, and nobody has said yet whose line it is. */
  stalled = false;
  /** The server said that the call is over; what became of it is being asked for. */
  over = false;
  devices = new Devices();
  #listener;
  #token;
  #connection;
  /** @type {Leg | null} */
  #leg = null;
  #joined = false;
  #offerSeq = 0;
  #answeredSeq = 0;
  #restarting = false;
  #received = 0;
  #receivedAt = 0;
  #stallHandled = false;
  /** How this person wants out, until the server has said that the call is over. @type {{ type: 'hang_up' | 'report_abuse' } | null} */
  #leaving = null;
  #attempts = 0;
  #timer = 0;
  #wantsCamera = note(CAMERA_OFF) === null;
  #saidDevices = '';

  /**
   * @param {string} token
   * @param {SessionListener} listener
   */
  constructor(token, listener) {
    this.#token = token;
    this.#listener = listener;
    this.#connection = new Connection(token, {
      message: (message) => this.#heard(message),
      link: (open, broke) => {
        this.linked = open;
        // What broke the socket may have cut the leg too, which takes browsers seconds to notice. Said for nothing, nothing is heard of it.
        if (open && broke) void this.#restart();
        listener.changed();
      },
      refused: (code) => this.#refused(code),
    });
    this.devices.setMuted(note(MUTED) !== null);
    this.devices.setNight(note(NIGHT) !== null); // a reloaded page opens its microphone before the server has answered
    this.devices.onchange = () => this.#devicesChanged();
    onNetworkChange(() => void this.#restart(true));
    setInterval(() => void this.#look(), LOOK_EVERY_MS);
  }

  open() {
    this.#connection.open();
  }

  /** This tab was in a call when it was reloaded. */
  static get wasJoined() {
    return note(JOINED) !== null;
  }

  /** This tab was in this very call when it was reloaded. */
  get shouldRejoin() {
    return this.view !== null && this.view.state !== 'ended' && note(JOINED) === this.view.id;
  }

  get joined() {
    return this.#joined;
  }

  /** This person's part of the view. */
  get me() {
    return this.view && this.role ? this.view[this.role] : null;
  }

  /** The other person's part of the view. */
  get other() {
    return this.view && this.role ? this.view[this.role === 'client' ? 'companion' : 'client'] : null;
  }

  get wantsCamera() {
    return this.view?.media === 'video' && this.#wantsCamera;
  }

  /** Takes part: from here on the page brings the leg back whenever it is lost. */
  join() {
    if (this.#joined || !this.view) return;
    this.#joined = true;
    setNote(JOINED, this.view.id);
    wake.hold();
    void this.#connect();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    setNote(MUTED, muted ? 'yes' : null);
    this.devices.setMuted(muted);
  }

  /** @param {boolean} on */
  async setCamera(on) {
    this.#wantsCamera = on;
    setNote(CAMERA_OFF, on ? null : 'yes');
    if (on) await this.devices.openCamera();
    else this.devices.closeCamera();
  }

  /** @param {Parameters<Connection['send']>[0]} body */
  send(body) {
    return this.#connection.send(body);
  }

  /**
   * Ends the call for this person. It is said again on every new line: nobody who hung up stays in a call.
   * @param {'hang_up' | 'report_abuse'} type
   */
  leave(type) {
    this.#leaving = { type };
    this.devices.setMuted(true);
    this.#connection.send(this.#leaving);
  }

  /** @param {ToPage} message */
  #heard(message) {
    switch (message.type) {
      case 'welcome':
        this.role = message.role;
        this.#see(message.call);
        if (this.#leaving && !this.ending) this.#connection.send(this.#leaving);
        // The server lost this page's leg, though the browser has not noticed yet.
        if (this.transport === 'connected' && this.me?.present === false && this.view?.state !== 'ended') void this.#restart();
        break;
      case 'state':
        this.#see(message.call);
        break;
      case 'answer':
        if (message.re === this.#offerSeq) void this.#answered(message.sdp);
        break;
      case 'ended':
        this.#end({ reason: message.reason, atFault: message.at_fault, receipt: message.receipt });
        break;
      case 'replaced':
        this.#refused('replaced');
        break;
      case 'error':
        if (message.code === 'token_revoked') return this.#refused(message.code); // put out: another attempt would be refused the same
        if (message.re !== null && message.re === this.#offerSeq) this.#offerRefused(message.code);
        else if (this.#leaving) {
          // It was refused, and is for the person to try again; until then she is heard as before.
          this.#leaving = null;
          this.devices.setMuted(note(MUTED) !== null);
        }
        this.#listener.message(message);
        break;
      default:
        this.#listener.message(message);
    }
  }

  /** @param {CallView} view */
  #see(view) {
    this.view = view;
    this.viewedAt = performance.now();
    if (view.state === 'ended') {
      this.#end({ reason: view.end_reason ?? '', atFault: view.at_fault ?? 'none', receipt: view.receipt });
      return;
    }
    this.#syncNight();
    this.#syncCamera();
    this.#listener.changed();
  }

  /** The server listens to the client's breath only. */
  #syncNight() {
    const night = this.role === 'client' && Boolean(this.view?.night);
    setNote(NIGHT, night ? 'yes' : null);
    this.devices.setNight(night);
  }

  /** @param {Ending} ending */
  #end(ending) {
    const first = this.ending === null;
    this.ending = { ...ending, receipt: ending.receipt ?? this.ending?.receipt ?? null };
    if (first) {
      this.#leave();
      if (!this.ending.receipt) void this.#fetchReceipt();
    }
    if (this.ending.receipt) this.#connection.stop(); // all is said
    this.#listener.changed();
  }

  /** @param {string} code */
  #refused(code) {
    if (this.ending) return;
    if (code === 'call_ended') {
      if (this.over) return;
      this.over = true;
      this.#leave();
      void this.#fetchReceipt();
      return;
    }
    this.#leave();
    this.#connection.stop();
    this.#listener.refused(code);
  }

  #leave() {
    this.#joined = false;
    this.transport = 'none';
    clearTimeout(this.#timer);
    for (const name of [JOINED, CAMERA_OFF, MUTED, NIGHT]) setNote(name, null);
    this.#leg?.close();
    this.#leg = null;
    this.devices.close();
    void wake.release();
  }

  /** The end is final before the money is counted: asks until the receipt is there. */
  async #fetchReceipt() {
    for (let attempt = 0; attempt < RECEIPT_ATTEMPTS && !this.ending?.receipt; attempt += 1) {
      if (attempt > 0) await new Promise((done) => setTimeout(done, Math.min(5_000, 250 * 2 ** attempt)));
      try {
        const response = await fetch('/v1/join/receipt', { headers: { authorization: `Bearer ${this.#token}` } });
        if (response.status === 401) break; // this link opens nothing any more
        if (!response.ok) continue;
        const receipt = /** @type {Receipt} */ (await response.json());
        this.#end({ reason: receipt.end_reason, atFault: receipt.at_fault, receipt });
        return;
      } catch {
        continue; // no network: the next attempt may have one
      }
    }
    if (!this.ending) this.#listener.refused('call_ended');
  }

  async #connect() {
    clearTimeout(this.#timer);
    if (!this.#joined) return;
    this.#leg?.close();
    this.#restarting = false;
    this.transport = 'joining';
    /** @type {Leg} */
    const leg = new Leg(this.devices.microphone, {
      state: (state) => leg === this.#leg && this.#transportChanged(state),
      track: (part, track) => leg === this.#leg && this.#listener.track(part, track),
    });
    this.#leg = leg;
    this.#connection.forgetWaiting();
    this.#listener.changed();
    const sdp = await leg.offer();
    if (leg !== this.#leg) return;
    this.#connection.attach(leg.channel);
    this.#offerSeq = this.#connection.send({ type: 'offer', sdp });
    this.#saidDevices = '';
    this.#sayDevices();
    this.#timer = setTimeout(() => this.#connectLater(), JOIN_WITHIN_MS);
  }

  #connectLater() {
    clearTimeout(this.#timer);
    if (!this.#joined) return;
    this.#restarting = false;
    this.transport = 'lost';
    const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => void this.#connect(), pause * (0.75 + Math.random() / 2));
    this.#listener.changed();
  }

  /** @param {string} sdp */
  async #answered(sdp) {
    const leg = this.#leg;
    this.#answeredSeq = this.#offerSeq;
    try {
      await leg?.answer(sdp);
      this.#syncCamera();
    } catch {
      if (leg === this.#leg) this.#connectLater(); // an answer this browser cannot use, or one to an older offer
    }
  }

  /** @param {string} code */
  #offerRefused(code) {
    if (FINAL.has(code)) this.#refused(code);
    else this.#connectLater();
  }

  /** @param {RTCPeerConnectionState} state */
  #transportChanged(state) {
    if (state === 'connected') {
      clearTimeout(this.#timer);
      this.#restarting = false;
      this.transport = 'connected';
      this.#attempts = 0;
      this.#syncCamera();
    } else if (state === 'disconnected' && this.transport === 'connected') {
      this.transport = 'lost';
      if (!this.#restarting) {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => void this.#restart(), RESTART_AFTER_MS);
      }
    } else if (state === 'failed') {
      const wasUp = this.transport !== 'joining' && !this.#restarting;
      this.transport = 'lost';
      if (wasUp) void this.#restart();
      else this.#connectLater();
    }
    this.#listener.changed();
  }

  /**
   * New ICE credentials on the same leg: enough when only the way changed.
   * @param {boolean} [again] the network changed just now: a restart that is under way was for the one before
   */
  async #restart(again = false) {
    const leg = this.#leg;
    if (!this.#joined || !leg || (this.#restarting && !again) || this.transport === 'joining') return;
    clearTimeout(this.#timer);
    this.#restarting = true;
    this.#offerSeq = 0; // an answer to the offer before does not fit the one that is being made
    this.#timer = setTimeout(() => {
      // It may have gone so smoothly that the browser never called the leg lost.
      const healed = leg.connected && this.#answeredSeq === this.#offerSeq;
      this.#restarting = false;
      if (leg === this.#leg && !healed) void this.#connect();
    }, RESTART_WITHIN_MS);
    try {
      const sdp = await leg.offer(true);
      if (leg === this.#leg) this.#sayRestart(leg, sdp);
    } catch {
      if (leg === this.#leg) this.#connectLater();
    }
  }

  /**
   * @param {Leg} leg
   * @param {string} sdp
   */
  #sayRestart(leg, sdp) {
    const seq = this.#connection.send({ type: 'ice_restart', sdp });
    this.#offerSeq = seq;
    this.#sayDevices(); // what changed meanwhile
    setTimeout(() => {
      if (leg !== this.#leg || this.#offerSeq !== seq || this.#answeredSeq === seq || !this.#restarting || !this.linked) return;
      this.#connection.refresh();
      // The same offer again gets the same answer.
      this.#offerSeq = this.#connection.send({ type: 'ice_restart', sdp });
    }, ANSWER_WITHIN_MS);
  }

  /** A line that went dead shows first in what no longer arrives. */
  async #look() {
    const leg = this.#leg;
    const now = performance.now();
    const { other } = this;
    const expected = leg && this.transport === 'connected' && this.view?.state === 'live' && other?.present && other.audio;
    const received = expected ? await leg.received() : 0;
    if (received === 0 || received !== this.#received) {
      this.#received = received;
      this.#receivedAt = now;
      this.#stallHandled = false;
      if (received > 0 && this.#restarting && leg?.connected && this.#answeredSeq === this.#offerSeq) {
        this.#restarting = false; // sound is back, and the next trouble is a new one
        clearTimeout(this.#timer);
      }
    }
    const silent = now - this.#receivedAt;
    if (silent > STALLED_AFTER_MS !== this.stalled) {
      this.stalled = !this.stalled;
      this.#listener.changed();
    }
    if (silent > STALLED_RESTART_MS && !this.#stallHandled && !this.#restarting) {
      this.#stallHandled = true;
      void this.#restart();
    }
  }

  #devicesChanged() {
    void this.#leg?.setMicrophone(this.devices.microphone);
    this.#syncCamera();
    this.#sayDevices();
    this.#listener.changed();
  }

  #syncCamera() {
    const live = this.view?.state === 'live' && this.transport === 'connected';
    void this.#leg?.setCamera(live && this.#leg.hasPicture ? this.devices.camera : null);
  }

  #sayDevices() {
    if (!this.#joined || !this.#offerSeq) return;
    const audio = this.devices.microphone !== null && !this.devices.muted;
    const video = this.devices.camera !== null;
    const said = `${audio} ${video}`;
    if (said === this.#saidDevices) return;
    this.#saidDevices = said;
    this.#connection.send({ type: 'devices', audio, video });
  }
}

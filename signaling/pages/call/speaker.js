// The loudspeaker: a soft test sound, and the choice of where sound comes out, where the browser offers one.
// The choice holds for this tab. Without one the system decides, as everywhere.

import { chime } from './ring.js';

const CHOICE = 'lull.speaker';
/** The test sound is over by then. */
const TEST_MS = 1_200;

/** This browser lets a page choose. */
export const canChoose = typeof HTMLMediaElement.prototype.setSinkId === 'function';

/** @returns {string} empty: the system's choice */
function kept() {
  try {
    return sessionStorage.getItem(CHOICE) ?? '';
  } catch {
    return ''; // storage is forbidden
  }
}

export class Speaker {
  #elements;
  #chosen = kept();

  /** @param {HTMLAudioElement[]} elements that sound in the call; the first one plays the test */
  constructor(elements) {
    this.#elements = elements;
    if (this.#chosen) void this.choose(this.#chosen);
  }

  /**
   * The loudspeakers to choose from; empty where the browser offers no choice, or where there is none.
   * @returns {Promise<{ id: string, name: string, chosen: boolean }[]>}
   */
  async list() {
    if (!canChoose || !navigator.mediaDevices) return [];
    const all = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === 'audiooutput' && device.deviceId !== '');
    return all.map((device) => ({ id: device.deviceId, name: device.label, chosen: device.deviceId === this.#chosen }));
  }

  /** @param {string} id */
  async choose(id) {
    try {
      await Promise.all(this.#elements.map((element) => element.setSinkId(id)));
      this.#chosen = id;
      sessionStorage.setItem(CHOICE, id);
    } catch {
      // unplugged or not allowed: sound comes out where it did before
    }
  }

  /** Plays two soft notes on the way by which the other will be heard. */
  async test() {
    const [element] = this.#elements;
    if (!element || element.srcObject) return; // a call is on it
    const context = new AudioContext();
    const out = new MediaStreamAudioDestinationNode(context);
    void context.resume(); // never awaited: without a sound device it does not answer
    element.srcObject = out.stream;
    element.play().catch(() => {}); // the tap on the button is what allows it; else nothing is heard, which is the answer
    chime(context, out);
    await new Promise((done) => setTimeout(done, TEST_MS));
    if (element.srcObject === out.stream) element.srcObject = null;
    void context.close();
  }
}

// Calls the companion's attention: a soft tone where the browser allows it, the title, a vibration. It stops when told.

const EVERY_MS = 3_000;
const NOTES_HZ = [523.25, 659.25];
const LOUDNESS = 0.08;

export class Ring {
  #timer = 0;
  #odd = false;
  /** @type {AudioContext | null} */
  #context = null;
  /** The tone is wanted; the title flashes either way. */
  sound = true;

  /** A browser lets a page sound only after it was touched: called on each touch. */
  touched() {
    if (!this.#timer || !this.sound) return;
    this.#context ??= new AudioContext();
    void this.#context.resume();
  }

  /** The tone can be heard now. */
  get audible() {
    return this.sound && this.#context?.state === 'running';
  }

  /** @param {() => string} title what the page's title says in turn with its name */
  start(title) {
    if (this.#timer) return;
    const once = () => {
      this.#odd = !this.#odd;
      document.title = this.#odd ? title() : 'lull';
      if (!this.#odd) return;
      if (this.#context && this.audible) chime(this.#context, this.#context.destination);
      if (navigator.userActivation?.hasBeenActive) navigator.vibrate?.([200, 120, 200]);
    };
    once();
    this.#timer = setInterval(once, EVERY_MS / 2);
  }

  stop() {
    if (!this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = 0;
    document.title = 'lull';
    navigator.userActivation?.hasBeenActive && navigator.vibrate?.(0);
    void this.#context?.close();
    this.#context = null;
  }
}

/**
 * Two soft notes.
 * @param {AudioContext} context
 * @param {AudioNode} out
 */
export function chime(context, out) {
  NOTES_HZ.forEach((frequency, index) => {
    const begin = context.currentTime + index * 0.22;
    const note = new OscillatorNode(context, { type: 'sine', frequency });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0, begin);
    gain.gain.linearRampToValueAtTime(LOUDNESS, begin + 0.04);
    gain.gain.exponentialRampToValueAtTime(0.0005, begin + 0.7);
    note.connect(gain).connect(out);
    note.start(begin);
    note.stop(begin + 0.75);
  });
}

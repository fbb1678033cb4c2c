// Voices that can be told apart by their pitch, and an ear in a page that tells which one it hears.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GiveUp, until } from './patience.mjs';

const RATE = 48_000;
/** A tone this much weaker than the other is not there: the window's side lobes and the codec's noise lie below. */
const APART_DB = 20;
/** Quieter than this is silence. After a while noise suppression leaves of our voices no more than about -60 dB. */
const SILENCE_DB = -80;

/**
 * Writes a voice of one pitch as WAV, 48 kHz mono. It comes in syllables: a steady tone is what browsers' noise suppression removes.
 * @param {string} file
 * @param {number} hz
 * @param {number} seconds after which the browser begins anew
 */
export function writeVoice(file, hz, seconds = 60) {
  const samples = RATE * seconds;
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16); // length of the format
  wav.writeUInt16LE(1, 20); // PCM
  wav.writeUInt16LE(1, 22); // mono
  wav.writeUInt32LE(RATE, 24);
  wav.writeUInt32LE(RATE * 2, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(samples * 2, 40);
  // Six syllables of 200 to 440 ms and then a breath, always the same.
  const lengths = [0.3, 0.2, 0.44, 0.26, 0.36, 0.22].map((s) => s * RATE);
  for (let at = 0, syllable = 0; at < samples; syllable += 1) {
    const length = lengths[syllable % lengths.length] ?? RATE;
    for (let i = 0; i < length && at + i < samples; i += 1) {
      const shape = Math.sin((Math.PI * i) / length) ** 0.5;
      wav.writeInt16LE(Math.round(9000 * shape * Math.sin((2 * Math.PI * hz * i) / RATE)), 44 + Math.floor(at + i) * 2);
    }
    at += length + (syllable % lengths.length === lengths.length - 1 ? 0.9 : 0.2) * RATE;
  }
  writeFileSync(file, wav);
}

/**
 * How loud two pitches are right now in what the page receives; null while it receives nothing.
 * @param {import('./browser.mjs').Tab} tab
 * @param {number} hz
 * @param {number} otherHz
 * @returns {Promise<{ db: number, otherDb: number, state: string } | null>}
 */
export function loudness(tab, hz, otherHz) {
  return tab.evaluate(
    ([hz, otherHz]) => {
      /** @typedef {{ track: MediaStreamTrack, context: AudioContext, analyser: AnalyserNode }} Ear */
      const keeper = /** @type {{ ear?: Ear }} */ (/** @type {unknown} */ (globalThis));
      const element = /** @type {HTMLMediaElement | null} */ (document.querySelector('#remote-audio'));
      const stream = element?.srcObject instanceof MediaStream ? element.srcObject : null;
      const track = stream?.getAudioTracks()[0];
      if (!track) return null;
      if (keeper.ear?.track !== track) {
        void keeper.ear?.context.close();
        const context = new AudioContext();
        const analyser = context.createAnalyser();
        analyser.fftSize = 8192;
        analyser.smoothingTimeConstant = 0;
        context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
        keeper.ear = { track, context, analyser };
      }
      const { context, analyser } = keeper.ear;
      if (context.state !== 'running') void context.resume(); // never awaited: without a sound device it stays suspended
      const bins = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(bins);
      /** @param {number} pitch */
      const around = (pitch) => {
        const bin = (pitch * analyser.fftSize) / context.sampleRate;
        const db = Math.max(...bins.slice(Math.floor(bin) - 3, Math.ceil(bin) + 4));
        return Number.isFinite(db) ? db : -200;
      };
      return { db: around(hz ?? 0), otherDb: around(otherHz ?? 0), state: context.state };
    },
    [hz, otherHz],
  );
}

/**
 * Waits until the page has heard one pitch several times, and the other never.
 * @param {import('./browser.mjs').Tab} tab
 * @param {{ hears: number, notHears: number, times?: number, limitMs?: number }} pitches in Hz
 */
export async function hears(tab, { hears: hz, notHears, times = 5, limitMs }) {
  let heard = 0;
  await until(
    `${tab.name} hears ${hz} Hz and not ${notHears} Hz`,
    async () => {
      const now = await loudness(tab, hz, notHears);
      if (!now) throw new Error('no sound is received');
      if (now.db > SILENCE_DB && now.db > now.otherDb + APART_DB) heard += 1;
      // At the edges of a syllable the spectrum is broad, so a near miss is only not counted.
      if (now.otherDb > SILENCE_DB && now.otherDb > now.db) throw new GiveUp(`${tab.name} hears ${notHears} Hz: ${JSON.stringify(now)}`);
      if (heard < times) throw new Error(`heard ${heard} times, now ${JSON.stringify(now)}`);
      return true;
    },
    { everyMs: 60, ...(limitMs !== undefined && { limitMs }) },
  );
}

/** A sound device that plays into nothing: without one Firefox' AudioContext never starts. */
export class NullSpeaker {
  /**
   * @param {import('node:child_process').ChildProcess} child
   * @param {string} folder
   */
  constructor(child, folder) {
    this.child = child;
    /** What a browser's environment needs to find it. */
    this.environment = { XDG_RUNTIME_DIR: folder, PULSE_SERVER: `unix:${path.join(folder, 'pulse/native')}` };
    this.folder = folder;
  }

  static async start() {
    const folder = mkdtempSync(path.join(tmpdir(), 'pulse-')); // 0700
    const flags = ['--daemonize=no', '--exit-idle-time=-1', '-n', '-L', 'module-native-protocol-unix auth-anonymous=1', '-L', 'module-null-sink sink_name=null'];
    const child = spawn('pulseaudio', flags, { stdio: 'ignore', env: { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder } });
    const speaker = new NullSpeaker(child, folder);
    await until('the sound server listens', () => existsSync(path.join(folder, 'pulse/native')));
    return speaker;
  }

  async stop() {
    if (this.child.exitCode === null) {
      const ended = new Promise((done) => this.child.once('exit', done));
      this.child.kill('SIGTERM');
      const overdue = setTimeout(() => this.child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(overdue);
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

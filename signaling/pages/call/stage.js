// What both pages show of a call: the countdown, the state in words, picture and sound of the other, own preview,
// microphone and camera buttons, hanging up. It draws a session and tells it what was tapped; it decides nothing.

import { ask, byId, setText } from '../dom.js';
import { t, tName } from '../i18n.js';
import { clock, since, timer, untilChange } from './countdown.js';
import { hangUpWords, lineWords, stateWords } from './words.js';

/** @typedef {import('./session.js').Session} Session */

/** A notice is there long enough to be read by somebody half asleep, and then it is gone. */
const NOTICE_MS = 20_000;
/** From here on more time is offered in plain sight. */
const LOW_MS = 300_000;

export class Stage {
  #session;
  #timer = 0;
  #noticeTimer = 0;
  #countdown = byId('countdown', HTMLElement);
  #pauseLeft = byId('pause-left', HTMLElement);
  #notice = byId('notice', HTMLElement);
  #remoteVideo = byId('remote-video', HTMLVideoElement);
  #preview = byId('preview', HTMLVideoElement);
  #voice = byId('remote-audio', HTMLAudioElement);
  #announcements = byId('announcements', HTMLAudioElement);
  #playHint = byId('play-hint', HTMLButtonElement);
  #mute = byId('mute', HTMLButtonElement);
  #camera = byId('camera', HTMLButtonElement);
  #hangUp = byId('hang-up', HTMLButtonElement);

  /** @param {Session} session */
  constructor(session) {
    this.#session = session;
    this.#mute.addEventListener('click', () => this.#toggleMicrophone());
    this.#camera.addEventListener('click', () => void session.setCamera(session.devices.camera === null));
    this.#playHint.addEventListener('click', () => this.#playAll());
    this.#hangUp.addEventListener('click', async () => {
      setText(byId('hang-up-text', HTMLElement), hangUpWords(session));
      if (await ask(byId('hang-up-dialog', HTMLDialogElement))) this.hangUp();
    });
  }

  /** Ends the call for this person; the server's word that it ended follows. */
  hangUp() {
    this.#hangUp.disabled = true;
    this.#session.leave('hang_up');
    this.silence();
    this.say(t('hanging_up'), 'plain');
  }

  /** Nothing is heard any more, however long the server's answer takes. */
  silence() {
    this.#voice.pause();
  }

  /** The server did not do it: it can be tried again. */
  hangUpFailed() {
    this.#hangUp.disabled = false;
    if (this.#voice.srcObject) void this.#play(this.#voice);
  }

  /**
   * What came in from the other side.
   * @param {'voice' | 'picture' | 'announcements'} part
   * @param {MediaStreamTrack} track
   */
  track(part, track) {
    const element = part === 'voice' ? this.#voice : part === 'picture' ? this.#remoteVideo : this.#announcements;
    element.srcObject = new MediaStream([track]);
    void this.#play(element);
    // Frames may start long after the track: the picture is shown when there is one.
    if (part === 'picture') element.onresize = () => this.draw();
  }

  /**
   * Says something that passes.
   * @param {string} text
   * @param {'plain' | 'warn' | 'bad' | 'good'} kind
   */
  say(text, kind) {
    clearTimeout(this.#noticeTimer);
    setText(this.#notice, text);
    this.#notice.dataset.kind = kind;
    this.#noticeTimer = setTimeout(() => setText(this.#notice, ''), NOTICE_MS);
  }

  /** Takes back what was said, as it is in another language now. */
  clear() {
    setText(this.#notice, '');
  }

  draw() {
    const { view, me, other, devices, ending } = this.#session;
    if (!view || !me || !other) return;
    const inCall = this.#session.joined && !ending;
    setText(byId('call-title', HTMLElement), tName(other.name));
    setText(byId('state', HTMLElement), inCall ? stateWords(this.#session) : '');
    setText(byId('line', HTMLElement), inCall ? lineWords(this.#session) : '');
    setText(byId('avatar', HTMLElement), Array.from(other.name.trim())[0] ?? '');

    // Each button says what it does, and looks struck out while its device is off.
    this.#mute.dataset.off = String(devices.muted || !devices.microphone);
    setText(this.#mute, t(!devices.microphone ? 'microphone_none' : devices.muted ? 'unmute' : 'mute'));

    const video = view.media === 'video' && !me.audio_only;
    this.#camera.hidden = !video;
    this.#camera.dataset.off = String(devices.camera === null);
    setText(this.#camera, t(devices.cameraTrouble ? 'camera_trouble' : devices.camera ? 'camera_off' : 'camera_on'));
    show(this.#preview, video ? devices.camera : null);

    const picture = video && other.video && !other.audio_only && this.#remoteVideo.videoWidth > 0;
    this.#remoteVideo.hidden = !picture;
    byId('avatar', HTMLElement).hidden = picture;
    document.body.dataset.picture = String(picture);
    this.#tick();
  }

  #tick() {
    clearTimeout(this.#timer);
    const { view, viewedAt, ending, joined } = this.#session;
    if (!view || ending) {
      document.title = 'lull';
      return;
    }
    const now = performance.now();
    const { ms, down, next } = timer(view, viewedAt, now);
    setText(this.#countdown, clock(ms));
    this.#countdown.dataset.near = String(down && view.state !== 'connecting' && ms <= 60_000);
    document.body.dataset.low = String(down && view.state !== 'connecting' && ms <= LOW_MS);
    if (joined) document.title = `${clock(ms)} · lull`;
    const pause = view.state === 'paused' && view.pause_left_ms !== null ? since(view.pause_left_ms, true, viewedAt, now) : null;
    setText(this.#pauseLeft, pause === null ? '' : t('pause_left', { clock: clock(pause) }));
    if (view.running || pause !== null) this.#timer = setTimeout(() => this.#tick(), pause === null ? next : Math.min(next, untilChange(pause)));
  }

  #toggleMicrophone() {
    const { devices } = this.#session;
    if (devices.microphone) this.#session.setMuted(!devices.muted);
    else {
      this.#session.setMuted(false);
      void devices.openMicrophone().then(() => devices.microphoneTrouble && this.say(t(`trouble_${devices.microphoneTrouble}`), 'bad'));
    }
  }

  #playAll() {
    this.#playHint.hidden = true;
    for (const element of [this.#voice, this.#remoteVideo, this.#announcements]) if (element.srcObject) void this.#play(element);
  }

  /** @param {HTMLMediaElement} element */
  async #play(element) {
    try {
      await element.play();
    } catch (error) {
      // A reloaded page may not make sound before it was touched. A play that a newer source cut short is no trouble.
      if (error instanceof Error && error.name === 'NotAllowedError') this.#playHint.hidden = false;
    }
  }
}

/**
 * Shows a track of this device, or hides the element.
 * @param {HTMLVideoElement} element always muted
 * @param {MediaStreamTrack | null} track
 */
export function show(element, track) {
  element.hidden = track === null;
  const shown = element.srcObject instanceof MediaStream ? (element.srcObject.getTracks()[0] ?? null) : null;
  if (shown === track) return;
  element.srcObject = track ? new MediaStream([track]) : null;
  if (track) element.play().catch(() => {}); // a muted preview that does not play is only a still picture
}

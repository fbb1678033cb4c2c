// Microphone and camera of this device: opens them, lists them, measures the level, opens them again when they vanish.
// It sends nothing anywhere. A person without a microphone, or who refuses it, may still listen.

/** @typedef {'insecure' | 'denied' | 'absent' | 'busy' | 'failed'} DeviceTrouble */

/**
 * Why a device did not open, in one word.
 * @param {unknown} error what `getUserMedia` threw
 * @returns {DeviceTrouble}
 */
function trouble(error) {
  const name = error instanceof Error ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'denied';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'absent';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  return 'failed';
}

export class Devices {
  /** @type {MediaStreamTrack | null} */
  microphone = null;
  /** @type {MediaStreamTrack | null} */
  camera = null;
  /** @type {DeviceTrouble | null} */
  microphoneTrouble = null;
  /** @type {DeviceTrouble | null} */
  cameraTrouble = null;
  /** Called whenever a track or trouble changed. */
  onchange = () => {};
  #microphoneId = '';
  #cameraId = '';
  #muted = false;
  #night = false;
  /** Counts requests, so that a late answer to an older one is thrown away. @type {Record<'audio' | 'video', number>} */
  #asked = { audio: 0, video: 0 };

  constructor() {
    document.addEventListener('visibilitychange', () => {
      // iOS takes the devices away from a page in the background and does not give them back by itself.
      if (document.visibilityState === 'visible') this.#reopenEnded();
    });
  }

  get muted() {
    return this.#muted;
  }

  /** Silence is still sent while muted: phones keep a page alive that sends sound. @param {boolean} muted */
  setMuted(muted) {
    this.#muted = muted;
    if (this.microphone) this.microphone.enabled = !muted;
    this.onchange();
  }

  /**
   * At night breath is not to be taken for noise, nor its loudness evened out; the companion's echo is taken out all the same.
   * A microphone that is open is opened anew.
   * @param {boolean} night
   */
  setNight(night) {
    if (this.#night === night) return;
    this.#night = night;
    if (this.microphone) void this.openMicrophone();
  }

  /**
   * Opens a microphone; the one before is closed.
   * @param {string} [id] of the device; the one used before, else the browser's choice
   * @returns {Promise<void>}
   */
  async openMicrophone(id = this.#microphoneId) {
    this.#microphoneId = id;
    const processing = { echoCancellation: true, noiseSuppression: !this.#night, autoGainControl: !this.#night };
    const constraints = id ? { ...processing, deviceId: { exact: id } } : processing;
    const got = await this.#open('audio', { audio: constraints });
    if (!got) return;
    this.microphone?.stop();
    this.microphone = got.track;
    this.microphoneTrouble = got.trouble;
    if (got.track) {
      got.track.enabled = !this.#muted;
      got.track.onended = () => this.#reopenEnded();
    } else if (id && got.trouble === 'absent') return this.openMicrophone('');
    this.onchange();
  }

  /**
   * Opens a camera; the one before is closed.
   * @param {string} [id] of the device; the one used before, else the one that looks at the person
   * @returns {Promise<void>}
   */
  async openCamera(id = this.#cameraId) {
    this.#cameraId = id;
    const size = { width: { ideal: 960 }, height: { ideal: 540 }, frameRate: { ideal: 30, max: 30 } };
    const constraints = id ? { ...size, deviceId: { exact: id } } : { ...size, facingMode: 'user' };
    const got = await this.#open('video', { video: constraints });
    if (!got) return;
    this.camera?.stop();
    this.camera = got.track;
    this.cameraTrouble = got.trouble;
    if (got.track) got.track.onended = () => this.#reopenEnded();
    else if (id && got.trouble === 'absent') return this.openCamera('');
    this.onchange();
  }

  /** Turns the camera off, and its light. */
  closeCamera() {
    this.#asked.video += 1;
    this.camera?.stop();
    this.camera = null;
    this.cameraTrouble = null;
    this.onchange();
  }

  /** Closes everything. */
  close() {
    this.#asked.audio += 1;
    this.microphone?.stop();
    this.microphone = null;
    this.closeCamera();
  }

  /**
   * The devices to choose from; their names are known only once one was opened.
   * @param {'audioinput' | 'videoinput'} kind
   * @returns {Promise<{ id: string, name: string, chosen: boolean }[]>}
   */
  async list(kind) {
    if (!navigator.mediaDevices) return [];
    const used = (kind === 'audioinput' ? this.microphone : this.camera)?.getSettings().deviceId;
    const all = await navigator.mediaDevices.enumerateDevices();
    return all
      .filter((device) => device.kind === kind && device.deviceId !== '')
      .map((device) => ({ id: device.deviceId, name: device.label, chosen: device.deviceId === used }));
  }

  /**
   * @param {'audio' | 'video'} kind
   * @param {MediaStreamConstraints} constraints
   * @returns {Promise<{ track: MediaStreamTrack | null, trouble: DeviceTrouble | null } | null>} null when a newer request overtook
   */
  async #open(kind, constraints) {
    this.#asked[kind] += 1;
    const mine = this.#asked[kind];
    if (!navigator.mediaDevices) return { track: null, trouble: 'insecure' };
    try {
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      const track = stream.getTracks()[0] ?? null;
      if (mine === this.#asked[kind]) return { track, trouble: track ? null : 'absent' };
      track?.stop();
      return null;
    } catch (error) {
      return mine === this.#asked[kind] ? { track: null, trouble: trouble(error) } : null;
    }
  }

  #reopenEnded() {
    if (this.microphone?.readyState === 'ended') void this.openMicrophone();
    if (this.camera?.readyState === 'ended') void this.openCamera();
  }
}

/** Measures how loud a microphone is. */
export class Level {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  #samples = new Float32Array(1024);

  /** @param {MediaStreamTrack | null} track */
  listen(track) {
    this.#source?.disconnect();
    this.#source = null;
    if (!track) return;
    this.#context ??= new AudioContext();
    void this.#context.resume(); // never awaited: without a sound device it does not answer
    this.#analyser ??= new AnalyserNode(this.#context, { fftSize: 1024 });
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  /** @returns {number} 0 (silence) to 1 (loud), on a scale of decibels as ears have */
  read() {
    if (!this.#analyser || !this.#source) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    const decibels = 10 * Math.log10(power + 1e-9);
    return Math.min(1, Math.max(0, (decibels + 60) / 50));
  }

  close() {
    this.listen(null);
    void this.#context?.close();
    this.#context = null;
    this.#analyser = null;
  }
}

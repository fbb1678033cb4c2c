// One leg: this page's one connection to the media server. One offer, no renegotiation: sound, picture, a second track
// for announcements and the data channel are offered at once, and what comes later is put into places that exist.
// It decides nothing about when to join or to try again.

/**
 * @typedef {object} LegListener
 * @property {(state: RTCPeerConnectionState) => void} state
 * @property {(part: 'voice' | 'picture' | 'announcements', track: MediaStreamTrack) => void} track
 */

/** A picture begins so low and small that the browser soon notices how much less that is than it thinks it may send. */
const LOW_BPS = 60_000;
const LOW_DIVISOR = 8;
const LOW_MS = 700;
/** Then it may take so much, for as long as sounding the line out takes. */
const HIGH_BPS = 2_500_000;
const HIGH_MS = 1_500;

export class Leg {
  // Everything is bundled by the answer. Asked for in the offer already, Firefox writes port 0 (`bundle-only`) on all lines but one.
  #connection = new RTCPeerConnection({ bundlePolicy: 'max-compat' });
  #voice;
  #picture;
  #closed = false;
  /** What is to be sent as picture. @type {MediaStreamTrack | null} */
  #camera = null;
  #pictureBegan = false;
  /** Messages, for when the socket is gone. */
  channel;

  /**
   * @param {MediaStreamTrack | null} microphone null to listen only
   * @param {LegListener} listener
   */
  constructor(microphone, listener) {
    const stream = new MediaStream();
    this.#voice = this.#connection.addTransceiver(microphone ?? 'audio', { direction: 'sendrecv', streams: [stream] });
    // Without a track until both legs are live: picture that nobody receives starves the bandwidth estimate.
    this.#picture = this.#connection.addTransceiver('video', { direction: 'sendrecv', streams: [stream] });
    const announcements = this.#connection.addTransceiver('audio', { direction: 'recvonly' });
    this.channel = this.#connection.createDataChannel('control');
    this.#connection.ontrack = ({ transceiver, track }) => {
      if (transceiver === this.#voice) listener.track('voice', track);
      else if (transceiver === this.#picture) listener.track('picture', track);
      else if (transceiver === announcements) listener.track('announcements', track);
    };
    this.#connection.onconnectionstatechange = () => {
      if (!this.#closed) listener.state(this.#connection.connectionState);
    };
  }

  get connected() {
    return this.#connection.connectionState === 'connected';
  }

  /** The call carries picture to and from this browser. */
  get hasPicture() {
    const direction = this.#picture.currentDirection;
    return direction !== null && direction !== 'inactive' && direction !== 'stopped';
  }

  /**
   * An offer that is sent at once: the server needs none of our candidates.
   * @param {boolean} restart with new ICE credentials
   * @returns {Promise<string>} SDP
   */
  async offer(restart = false) {
    if (restart) this.#connection.restartIce();
    await this.#connection.setLocalDescription(await this.#connection.createOffer());
    return this.#connection.localDescription?.sdp ?? '';
  }

  /** @param {string} sdp the server's answer */
  async answer(sdp) {
    if (!this.#closed) await this.#connection.setRemoteDescription({ type: 'answer', sdp });
  }

  /** @returns {Promise<number>} packets of sound and picture received so far */
  async received() {
    if (this.#closed) return 0;
    let packets = 0;
    for (const entry of (await this.#connection.getStats()).values()) {
      if (entry.type === 'inbound-rtp') packets += entry.packetsReceived ?? 0;
    }
    return packets;
  }

  /** @param {MediaStreamTrack | null} track */
  async setMicrophone(track) {
    if (!this.#closed && this.#voice.sender.track !== track) await this.#voice.sender.replaceTrack(track);
  }

  /** @param {MediaStreamTrack | null} track */
  async setCamera(track) {
    if (this.#closed || this.#camera === track) return;
    this.#camera = track;
    if (track && !this.#pictureBegan) {
      this.#pictureBegan = true;
      await this.#limitPicture(LOW_BPS);
      void this.#soundOut();
    }
    // The newest word counts, if there was another meanwhile.
    if (!this.#closed) await this.#picture.sender.replaceTrack(this.#camera);
  }

  /**
   * A browser sounds the line out when a connection is made, and then there was no picture to do it with. It does so again when the most
   * that may be sent grows while it sends less than it could; else its estimate would creep up from 300 kbit/s for half a minute.
   */
  async #soundOut() {
    const pause = (/** @type {number} */ ms) => new Promise((done) => setTimeout(done, ms));
    await pause(LOW_MS);
    await this.#limitPicture(HIGH_BPS);
    await pause(HIGH_MS);
    await this.#limitPicture(null);
  }

  /** @param {number | null} bps the most that is sent; null for the browser's own limit */
  async #limitPicture(bps) {
    if (this.#closed) return;
    const parameters = this.#picture.sender.getParameters();
    for (const encoding of parameters.encodings) {
      if (bps === null) delete encoding.maxBitrate;
      else encoding.maxBitrate = bps;
      encoding.scaleResolutionDownBy = bps === LOW_BPS ? LOW_DIVISOR : 1;
    }
    // Where it is refused the picture only starts as it would have without.
    await this.#picture.sender.setParameters(parameters).catch(() => null);
  }

  close() {
    this.#closed = true;
    this.#connection.close();
  }
}

// One leg: this page's one connection to the media server. One offer, no renegotiation: sound, picture, a second track
// for announcements and the data channel are offered at once, and what comes later is put into places that exist.
// It decides nothing about when to join or to try again.

/**
 * @typedef {object} LegListener
 * @property {(state: RTCPeerConnectionState) => void} state
 * @property {(part: 'voice' | 'picture' | 'announcements', track: MediaStreamTrack) => void} track
 */

export class Leg {
  // Everything is bundled by the answer. Asked for in the offer already, Firefox writes port 0 (`bundle-only`) on all lines but one.
  #connection = new RTCPeerConnection({ bundlePolicy: 'max-compat' });
  #voice;
  #picture;
  #closed = false;
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
    if (!this.#closed && this.#picture.sender.track !== track) await this.#picture.sender.replaceTrack(track);
  }

  close() {
    this.#closed = true;
    this.#connection.close();
  }
}

// How well a page hears and sees, from the browser's own counters (webrtc-stats), read each second and told over a window.

/**
 * What a page counted so far.
 * @typedef {object} Sample
 * @property {number} at ms
 * @property {Record<string, number>} audio
 * @property {Record<string, number>} video
 * @property {number} sent octets of media, retransmissions included
 * @property {number} resent packets
 * @property {number} available bits a second; 0 while unknown
 * @property {number} rtt ms to the other page, by its reports; 0 while unknown
 * @property {string} limited why the picture sent is not better
 * @property {string} path local and remote address
 */

/**
 * How a page fared.
 * @typedef {object} Figures
 * @property {number} concealed percent of the sound that was made up
 * @property {number} delay ms that sound waited in the jitter buffer
 * @property {number} freezes a minute
 * @property {number} frozen percent of the time
 * @property {number} fps decoded
 * @property {number} width of the picture at the end
 * @property {number} keyFrames decoded
 * @property {number} nacks sent
 * @property {number} plis sent
 * @property {number} lost percent of packets of sound
 * @property {number} energy of the sound, 0 to 1
 * @property {number} rtt ms
 * @property {number} kbps sent
 * @property {number} resent packets
 * @property {string} limited
 * @property {Record<string, number>} estimates kbit/s the browser thinks it may send, by seconds after the connection
 * @property {Record<string, number>} sending kbit/s it sent, by seconds
 */

/** In the page, before anything else runs: keeps the connections it makes. */
export function observe() {
  /** @type {RTCPeerConnection[]} */
  const made = [];
  const Native = RTCPeerConnection;
  const page = /** @type {any} */ (globalThis);
  page.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      made.push(this);
    }
  };
  page.connection = () => made.at(-1);
}

/**
 * Reads a page's counters.
 * @param {import('../browser.mjs').Tab} tab
 * @returns {Promise<Sample>}
 */
export function sample(tab) {
  return tab.evaluate(async () => {
    const page = /** @type {{ connection(): RTCPeerConnection | undefined }} */ (/** @type {unknown} */ (globalThis));
    /** @type {any[]} */
    const all = [...((await page.connection()?.getStats()) ?? new Map()).values()];
    // Her voice is in the first section; what the server plays while she waits comes by a further one.
    const inbound = (/** @type {string} */ kind) =>
      all.filter((s) => s.type === 'inbound-rtp' && s.kind === kind && s.packetsReceived > 0).sort((a, b) => Number(a.mid) - Number(b.mid))[0] ?? {};
    const outbound = all.filter((s) => s.type === 'outbound-rtp');
    const transport = all.find((s) => s.type === 'transport');
    const pair = all.find((s) => s.id === transport?.selectedCandidatePairId) ?? {};
    const address = (/** @type {string} */ id) => {
      const candidate = all.find((s) => s.id === id);
      return candidate ? `${candidate.address}:${candidate.port}` : '';
    };
    /** @type {(from: any, names: string[]) => Record<string, number>} */
    const numbers = (from, names) => Object.fromEntries(names.map((name) => [name, Number(from[name] ?? 0)]));
    return {
      at: performance.now(),
      audio: numbers(inbound('audio'), [
        ...['packetsReceived', 'packetsLost', 'concealedSamples', 'silentConcealedSamples', 'totalSamplesReceived'],
        ...['jitterBufferDelay', 'jitterBufferEmittedCount', 'totalAudioEnergy', 'totalSamplesDuration', 'fecPacketsReceived'],
      ]),
      video: numbers(inbound('video'), [
        ...['packetsReceived', 'packetsLost', 'framesDecoded', 'keyFramesDecoded', 'freezeCount', 'totalFreezesDuration'],
        ...['frameWidth', 'nackCount', 'pliCount', 'jitterBufferDelay', 'jitterBufferEmittedCount'],
      ]),
      sent: outbound.reduce((sum, s) => sum + (s.bytesSent ?? 0), 0),
      resent: outbound.reduce((sum, s) => sum + (s.retransmittedPacketsSent ?? 0), 0),
      available: Number(pair.availableOutgoingBitrate ?? 0),
      rtt: Math.max(0, ...all.filter((s) => s.type === 'remote-inbound-rtp').map((s) => 1000 * (s.roundTripTime ?? 0))),
      limited: outbound.find((s) => s.kind === 'video')?.qualityLimitationReason ?? '',
      path: `${address(pair.localCandidateId)} ${address(pair.remoteCandidateId)}`,
    };
  });
}

/**
 * @param {Sample[]} samples one a second, from the connection on
 * @param {{ from: number, marks: number[] }} window seconds from which it counts, and at which bitrates are told
 * @returns {Figures}
 */
export function figures(samples, { from, marks }) {
  const begin = samples[0]?.at ?? 0;
  const first = samples.find(({ at }) => at - begin >= from * 1000 - 500);
  const last = samples.at(-1);
  if (!first || !last || first === last) throw new Error(`${samples.length} samples are no window`);
  const seconds = (last.at - first.at) / 1000;
  /** @type {(kind: 'audio' | 'video', name: string) => number} */
  const grown = (kind, name) => (last[kind][name] ?? 0) - (first[kind][name] ?? 0);
  const at = (/** @type {number} */ mark) => nearest(samples, begin + mark * 1000);
  const rate = (/** @type {Sample} */ a, /** @type {Sample} */ b) => round(((b.sent - a.sent) * 8) / Math.max(1, b.at - a.at));
  const made = grown('audio', 'concealedSamples') - grown('audio', 'silentConcealedSamples');
  const expected = grown('audio', 'packetsReceived') + grown('audio', 'packetsLost');
  return {
    concealed: round((100 * made) / Math.max(1, grown('audio', 'totalSamplesReceived')), 2),
    delay: round((1000 * grown('audio', 'jitterBufferDelay')) / Math.max(1, grown('audio', 'jitterBufferEmittedCount'))),
    freezes: round((60 * grown('video', 'freezeCount')) / seconds, 1),
    frozen: round((100 * grown('video', 'totalFreezesDuration')) / seconds, 1),
    fps: round(grown('video', 'framesDecoded') / seconds, 1),
    width: last.video.frameWidth ?? 0,
    keyFrames: grown('video', 'keyFramesDecoded'),
    nacks: grown('video', 'nackCount'),
    plis: grown('video', 'pliCount'),
    lost: round((100 * grown('audio', 'packetsLost')) / Math.max(1, expected), 2),
    energy: round(grown('audio', 'totalAudioEnergy') / Math.max(0.001, grown('audio', 'totalSamplesDuration')), 5),
    rtt: round(last.rtt),
    kbps: rate(first, last),
    resent: last.resent - first.resent,
    limited: last.limited,
    estimates: Object.fromEntries(marks.map((mark) => [mark, round(at(mark).available / 1000)])),
    // Over the two seconds before.
    sending: Object.fromEntries(marks.map((mark) => [mark, rate(at(mark - 2), at(mark))])),
  };
}

/** @param {Sample[]} samples @param {number} at @returns {Sample} */
function nearest(samples, at) {
  return samples.reduce((best, sample) => (Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best));
}

/** @param {number} value @param {number} [digits] */
export function round(value, digits = 0) {
  return Number(value.toFixed(digits));
}

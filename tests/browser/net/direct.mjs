// The same two people without lull: their browsers connected directly, their words carried by the tests. Devices as lull's pages
// open them, Opus and VP8 only.

import { until } from '../patience.mjs';

/** @typedef {{ connection(): RTCPeerConnection }} Connected */

/** A secure origin that needs no network: the driver answers for it. */
const PAGE = 'http://localhost/direct';
const HTML = `<!doctype html><title>direct</title><audio id="remote-audio" autoplay></audio>
  <video id="remote-video" autoplay playsinline muted></video>`;

// What runs in the pages finds their connection as `connection()`: `observe` put it there.

/**
 * Connects two tabs; returns when both are connected.
 * @param {import('../browser.mjs').Tab} one
 * @param {import('../browser.mjs').Tab} other
 */
export async function connect(one, other) {
  for (const tab of [one, other]) {
    await tab.page.route(PAGE, (/** @type {import('playwright-core').Route} */ route) => route.fulfill({ contentType: 'text/html', body: HTML }));
    await tab.open(PAGE);
    await tab.evaluate(prepare);
  }
  const offer = await one.evaluate(describe);
  await other.evaluate(accept, offer);
  await one.evaluate(accept, await other.evaluate(describe));
  for (const tab of [one, other]) {
    await until(`${tab.name} is connected`, () => tab.evaluate(() => /** @type {any} */ (globalThis).connection().connectionState === 'connected'));
  }
}

/** In the page: devices and a connection. */
async function prepare() {
  const page = /** @type {Connected} */ (/** @type {unknown} */ (globalThis));
  // The constraints of lull's pages (devices.js).
  const local = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    video: { width: { ideal: 960 }, height: { ideal: 540 }, frameRate: { ideal: 30, max: 30 } },
  });
  new RTCPeerConnection();
  const connection = page.connection();
  for (const track of local.getTracks()) connection.addTrack(track, local);
  for (const transceiver of connection.getTransceivers()) {
    const kind = transceiver.sender.track?.kind ?? '';
    const wanted = kind === 'audio' ? ['audio/opus'] : ['video/VP8', 'video/rtx'];
    const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
    transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => wanted.includes(mimeType)));
  }
  connection.ontrack = ({ track }) => {
    const element = /** @type {HTMLMediaElement} */ (document.querySelector(`#remote-${track.kind}`));
    element.srcObject = new MediaStream([track]);
  };
}

/** In the page: its offer or answer, with all candidates. */
async function describe() {
  const page = /** @type {Connected} */ (/** @type {unknown} */ (globalThis));
  const connection = page.connection();
  await connection.setLocalDescription();
  while (connection.iceGatheringState !== 'complete') {
    await new Promise((done) => connection.addEventListener('icegatheringstatechange', done, { once: true }));
  }
  const { type, sdp } = connection.localDescription ?? { type: /** @type {const} */ ('offer'), sdp: '' };
  return { type, sdp };
}

/** In the page. @param {RTCSessionDescriptionInit} description */
async function accept(description) {
  const page = /** @type {Connected} */ (/** @type {unknown} */ (globalThis));
  await page.connection().setRemoteDescription(description);
}

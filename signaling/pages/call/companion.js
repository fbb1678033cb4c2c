// The companion's page: it rings, she accepts, the call with her timer and what she earned, the end with her statement.

import { ask, byId, setText, showScreen } from '../dom.js';
import { onLanguage, t, tLength, tMoney } from '../i18n.js';
import { drawReceipt } from '../receipt.js';
import { earnedNow } from './countdown.js';
import { onHold } from './hold.js';
import { canCall, Problem } from './problem.js';
import { Recording } from './recording.js';
import { Ring } from './ring.js';
import { Session } from './session.js';
import { Sleep } from './sleep.js';
import { Stage } from './stage.js';
import { newKey } from './wire.js';
import { endWords, errorWords, lengthWords } from './words.js';

const GIFTS_MIN = /** @type {const} */ ([1, 5, 10]);
/** Without an answer the gift is asked for again, under the same key. */
const GIFT_AGAIN_MS = 5_000;
const GIFT_ATTEMPTS = 3;
const EARNED_EVERY_MS = 1_000;
/** A reloaded page goes back in without a microphone rather than late; it is added when it opens. */
const REOPEN_WITHIN_MS = 1_000;

const problem = new Problem();
const ring = new Ring();
const token = location.hash.slice(1);
const session = new Session(token, {
  changed: () => draw(),
  message: (message) => heard(message),
  track: (part, track) => stage.track(part, track),
  refused: (code) => {
    ring.stop();
    // A link that opens no call any more still shows what the call came to.
    if (code === 'token_expired') location.replace(`/receipt${location.search}${location.hash}`);
    else problem.show(code);
  },
});
const stage = new Stage(session);
const sleep = new Sleep(session);
const recording = new Recording(session, () => draw());

/** The gift that has no answer yet. @type {{ key: string, minutes: number, seqs: number[], attempts: number, timer: number } | null} */
let giving = null;
let accepting = false;
/** The microphone that a reloaded page opens early. @type {Promise<void> | null} */
let opening = null;

function draw() {
  const { view, role } = session;
  if (problem.shown) return;
  document.body.dataset.link = session.linked ? 'open' : 'lost';
  document.body.dataset.transport = session.transport;
  if (session.ending) {
    document.body.dataset.state = 'ended';
    ring.stop();
    return drawEnd(session.ending);
  }
  if (!view || !role) {
    setText(byId('opening-note', HTMLElement), session.over ? t('end_settling') : session.linked ? '' : t('opening_note'));
    return;
  }
  if (role !== 'companion') return problem.show('wrong_page');
  document.body.dataset.state = view.state;
  if (session.shouldRejoin && !session.joined) return void accept();
  if (session.joined) {
    showScreen('call');
    stage.draw();
    drawCall();
  } else if (!accepting) {
    showScreen('ring');
    drawRing();
  }
}

function drawRing() {
  const { view, devices } = session;
  if (!view) return;
  ring.start(() => t('ring_title', { name: view.client.name }));
  setText(byId('ring-title', HTMLElement), t('ring_title', { name: view.client.name }));
  setText(byId('ring-client', HTMLElement), view.client.name);
  setText(byId('ring-plan', HTMLElement), view.plan_name);
  setText(byId('ring-time', HTMLElement), lengthWords(view));
  byId('ring-grade-row', HTMLElement).hidden = view.grade_paid === null;
  setText(byId('ring-grade', HTMLElement), view.grade_paid ?? '');
  setText(byId('ring-media', HTMLElement), t(view.media === 'video' ? 'media_video' : 'media_audio'));
  byId('ring-part-row', HTMLElement).hidden = !view.pay;
  const part = view.pay && (view.plan_kind === 'block' ? t('price_per', { price: tMoney(view.pay), length: tLength(view.block_s) }) : tMoney(view.pay));
  setText(byId('ring-part', HTMLElement), part ?? '');
  setText(byId('ring-words', HTMLElement), session.linked ? t(view.client.present ? 'ring_there' : 'ring_not_there') : t('line_lost'));
  const trouble = byId('ring-trouble', HTMLElement);
  trouble.hidden = devices.microphoneTrouble === null;
  setText(trouble, devices.microphoneTrouble ? `${t(`trouble_${devices.microphoneTrouble}`)}${t('joint')}${t('accept_needs_microphone')}` : '');
  const sound = byId('ring-sound', HTMLButtonElement);
  sound.setAttribute('aria-pressed', String(ring.audible));
  setText(sound, t(!ring.sound ? 'ring_silent' : ring.audible ? 'ring_sounds' : 'ring_touch'));
  byId('ring-night', HTMLElement).hidden = !view.night;
  recording.draw('ring');
}

function drawCall() {
  const { view } = session;
  if (!view) return;
  sleep.draw();
  recording.draw('call');
  const earned = earnedNow(view, session.viewedAt, performance.now());
  setText(byId('earned', HTMLElement), earned ? tMoney(earned) : '');
  const giftLeft = view.gift_left_s ?? 0;
  for (const minutes of GIFTS_MIN) {
    const button = byId(`gift-${minutes}`, HTMLButtonElement);
    setText(button, t('gift', { count: minutes }));
    button.disabled = giving !== null || giftLeft < minutes * 60;
  }
  const note = giving ? t('gift_sending') : giftLeft < 60 ? t('gift_none') : t('gift_note', { length: tLength(giftLeft) });
  setText(byId('gift-note', HTMLElement), note);
}

/** @param {{ reason: string, atFault: string, receipt: import('./wire.js').Receipt | null }} ending */
function drawEnd({ reason, atFault, receipt }) {
  showScreen('end');
  setText(byId('end-reason', HTMLElement), endWords(reason, atFault, 'companion'));
  setText(byId('end-settling', HTMLElement), receipt ? '' : t('end_settling'));
  byId('end-facts', HTMLElement).hidden = !receipt;
  byId('print', HTMLElement).hidden = !receipt;
  if (!receipt) return;
  setText(byId('end-delivered', HTMLElement), tLength(receipt.delivered_ms / 1000));
  setText(byId('end-earned', HTMLElement), receipt.earned ? tMoney(receipt.earned) : '');
  drawReceipt(byId('receipt', HTMLElement), receipt, 'companion');
}

/** @param {number} minutes */
function give(minutes) {
  if (giving) return;
  giving = { key: newKey(), minutes, seqs: [], attempts: 0, timer: 0 };
  sayGift();
}

function sayGift() {
  if (!giving) return;
  if (giving.attempts >= GIFT_ATTEMPTS) {
    given();
    stage.say(t('extend_no_answer'), 'bad');
    return;
  }
  giving.attempts += 1;
  giving.seqs.push(session.send({ type: 'gift', key: giving.key, minutes: giving.minutes }));
  clearTimeout(giving.timer);
  giving.timer = setTimeout(sayGift, GIFT_AGAIN_MS);
  drawCall();
}

function given() {
  clearTimeout(giving?.timer);
  giving = null;
  drawCall();
}

/** @param {import('./wire.js').ToPage} message */
function heard(message) {
  if (message.type === 'warning') {
    stage.say(t('warning', { length: tLength(message.remaining_s) }), 'warn');
  } else if (message.type === 'extended') {
    if (message.by === 'companion') given();
    const values = { length: tLength(message.added_s), by: t(`by_${message.by}`), name: session.other?.name ?? '' };
    const key = message.by === 'companion' ? 'gift_given' : message.free ? 'extended_free' : 'extended_paid';
    stage.say(t(key, values), 'good');
  } else if (message.type === 'error') {
    sleep.refused(message.re);
    if (message.re !== null && giving?.seqs.includes(message.re)) given();
    stage.hangUpFailed();
    report.disabled = false;
    stage.say(errorWords(message.code), 'bad');
    if (!session.joined) setText(byId('ring-words', HTMLElement), errorWords(message.code));
  }
}

/** Joining is accepting. She delivers by being heard, so she needs a microphone; the client need not. */
async function accept() {
  if (accepting || session.joined) return;
  accepting = true;
  byId('accept', HTMLButtonElement).disabled = true;
  const { devices } = session;
  if (opening) await Promise.race([opening, new Promise((done) => setTimeout(done, REOPEN_WITHIN_MS))]);
  else if (!devices.microphone) await devices.openMicrophone();
  opening = null;
  accepting = false;
  byId('accept', HTMLButtonElement).disabled = false;
  if (!devices.microphone && !session.shouldRejoin) return draw();
  ring.stop();
  session.join();
  if (session.wantsCamera && !devices.camera) void devices.openCamera();
  draw();
}

function reportAbuse() {
  report.disabled = true;
  session.leave('report_abuse');
  stage.silence();
  stage.say(t('reporting'), 'plain');
}

const report = byId('report', HTMLButtonElement);
onHold(report, {
  held: reportAbuse,
  tapped: async () => {
    if (await ask(byId('report-dialog', HTMLDialogElement))) reportAbuse();
  },
});
byId('accept', HTMLElement).addEventListener('click', () => void accept());
byId('decline', HTMLElement).addEventListener('click', async () => {
  if (await ask(byId('decline-dialog', HTMLDialogElement))) session.leave('hang_up');
});
byId('ring-sound', HTMLElement).addEventListener('click', () => {
  if (ring.audible) ring.sound = false;
  else {
    ring.sound = true;
    ring.touched();
  }
  setTimeout(draw, 100); // the browser says a moment later whether it lets the page sound
  draw();
});
// A block begins while nothing is said: her part grows with the clock.
setInterval(() => document.body.dataset.screen === 'call' && drawCall(), EARNED_EVERY_MS);
for (const touch of ['pointerdown', 'keydown']) document.addEventListener(touch, () => ring.touched());
for (const minutes of GIFTS_MIN) byId(`gift-${minutes}`, HTMLElement).addEventListener('click', () => give(minutes));
byId('print', HTMLElement).addEventListener('click', () => print());
onLanguage(() => {
  problem.draw();
  stage.clear();
  draw();
});

if (!token) problem.show('no_token');
else if (!canCall()) problem.show('unsupported');
else {
  // A reload in mid-call: the microphone opens while the server is being asked.
  if (Session.wasJoined) opening = session.devices.openMicrophone();
  session.open();
}

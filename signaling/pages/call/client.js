// The client's page: what was bought, a look at the devices, the call with its countdown, the end with its receipt.

import { byId, setText, showScreen } from '../dom.js';
import { onLanguage, t, tLength, tMoney } from '../i18n.js';
import { drawReceipt } from '../receipt.js';
import { Level } from './devices.js';
import { Night } from './night.js';
import { Recording } from './recording.js';
import { Session } from './session.js';
import { Speaker } from './speaker.js';
import { show, Stage } from './stage.js';
import { newKey } from './wire.js';
import { chargeWords, endWords, errorWords, lengthWords, priceWords, spentWords } from './words.js';
import { canCall, Problem } from './problem.js';

/** Without an answer the same purchase is asked for again, under the same key. */
const EXTEND_AGAIN_MS = 5_000;
const EXTEND_ATTEMPTS = 3;
/** A reloaded page goes back in without a microphone rather than late; it is added when it opens. */
const REOPEN_WITHIN_MS = 1_000;
const LEVEL_EVERY_MS = 80;
/** Louder than a quiet room. */
const HEARD_LEVEL = 0.35;

const problem = new Problem();
const level = new Level();
const token = location.hash.slice(1);
const session = new Session(token, {
  changed: () => draw(),
  message: (message) => heard(message),
  track: (part, track) => stage.track(part, track),
  // A link that opens no call any more still shows what the call came to.
  refused: (code) => (code === 'token_expired' ? location.replace(`/receipt${location.search}${location.hash}`) : problem.show(code)),
});
const stage = new Stage(session);
const night = new Night(session);
const recording = new Recording(session, () => draw());
const speaker = new Speaker([byId('remote-audio', HTMLAudioElement), byId('announcements', HTMLAudioElement)]);

/** The purchase that has no answer yet. @type {{ key: string, seqs: number[], attempts: number, timer: number } | null} */
let buying = null;
let joining = false;
let heardVoice = false;
/** The microphone that a reloaded page opens early. @type {Promise<void> | null} */
let opening = null;

function draw() {
  const { view, role } = session;
  if (problem.shown) return;
  document.body.dataset.link = session.linked ? 'open' : 'lost';
  document.body.dataset.transport = session.transport;
  if (session.ending) {
    document.body.dataset.state = 'ended';
    level.close();
    return drawEnd(session.ending);
  }
  if (!view || !role) {
    setText(byId('opening-note', HTMLElement), session.over ? t('end_settling') : session.linked ? '' : t('opening_note'));
    return;
  }
  if (role !== 'client') return problem.show('wrong_page');
  document.body.dataset.state = view.state;
  if (session.shouldRejoin && !session.joined) return void join();
  if (session.joined) {
    showScreen('call');
    stage.draw();
    night.draw();
    recording.draw('call');
    drawExtend();
  } else if (!joining) {
    showScreen('check');
    drawCheck();
  }
}

function drawCheck() {
  const { view, devices } = session;
  if (!view) return;
  setText(byId('check-title', HTMLElement), t('check_title', { name: view.companion.name }));
  setText(byId('check-companion', HTMLElement), view.companion.name);
  setText(byId('check-plan', HTMLElement), view.plan_name);
  setText(byId('check-time', HTMLElement), t(view.media === 'video' ? 'time_video' : 'time_audio', { length: lengthWords(view) }));
  setText(byId('check-price', HTMLElement), priceWords(view));
  byId('check-grade-paid-row', HTMLElement).hidden = view.grade_paid === null;
  setText(byId('check-grade-paid', HTMLElement), view.grade_paid ?? '');
  byId('check-grade-row', HTMLElement).hidden = view.grade_delivered === null;
  setText(byId('check-grade', HTMLElement), view.grade_delivered ?? '');

  const open = devices.microphone !== null;
  byId('check-microphone', HTMLElement).hidden = open;
  byId('check-open', HTMLElement).hidden = !open;
  setText(byId('check-words', HTMLElement), t(!open ? 'check_closed' : heardVoice ? 'check_heard' : 'check_speak'));
  const trouble = byId('check-trouble', HTMLElement);
  const why = devices.microphoneTrouble ?? null;
  const texts = [why && t(`trouble_${why}`), devices.cameraTrouble && t('trouble_camera')].filter(Boolean);
  trouble.hidden = texts.length === 0;
  setText(trouble, texts.join(t('joint')));

  byId('check-picture', HTMLElement).hidden = view.media !== 'video';
  const camera = byId('check-camera', HTMLButtonElement);
  camera.setAttribute('aria-pressed', String(session.wantsCamera));
  setText(camera, t(session.wantsCamera ? 'check_camera_on' : 'check_camera_off'));
  show(byId('check-preview', HTMLVideoElement), devices.camera);
  byId('choose-camera-field', HTMLElement).hidden = devices.camera === null;
  setText(byId('join', HTMLElement), t(why ? 'join_listening' : 'join'));
  night.drawBefore();
  recording.draw('check');
}

/** @param {{ reason: string, atFault: string, receipt: import('./wire.js').Receipt | null }} ending */
function drawEnd({ reason, atFault, receipt }) {
  document.title = 'lull';
  if (night.staysDark(reason)) {
    night.stay();
    setText(byId('goodnight-reason', HTMLElement), endWords(reason, atFault, 'client'));
    return showScreen('goodnight', { aloud: false });
  }
  night.wakeUp();
  showScreen('end');
  setText(byId('end-reason', HTMLElement), endWords(reason, atFault, 'client'));
  setText(byId('end-settling', HTMLElement), receipt ? '' : t('end_settling'));
  byId('end-facts', HTMLElement).hidden = !receipt;
  byId('end-promise', HTMLElement).hidden = !receipt;
  byId('print', HTMLElement).hidden = !receipt;
  if (!receipt) return;
  setText(byId('end-delivered', HTMLElement), tLength(receipt.delivered_ms / 1000));
  setText(byId('end-charge', HTMLElement), receipt.charge ? tMoney(receipt.charge) : '');
  setText(byId('end-refund', HTMLElement), receipt.refund ? tMoney(receipt.refund) : '');
  setText(byId('end-promise', HTMLElement), chargeWords(receipt));
  drawReceipt(byId('receipt', HTMLElement), receipt, 'client');
  const page = byId('receipt-page', HTMLAnchorElement);
  page.hidden = false;
  page.href = `/receipt${location.hash}`;
}

function drawExtend() {
  const { view } = session;
  if (!view) return;
  const button = byId('extend', HTMLButtonElement);
  const spent = byId('spent', HTMLElement);
  spent.hidden = view.rate === null || view.spent === null || view.held === null;
  setText(spent, spentWords(view));
  // One price for the whole call: there is nothing to add.
  byId('more-time', HTMLElement).hidden = view.plan_kind === 'flat';
  const isBlock = view.plan_kind === 'block';
  setText(button, isBlock ? t('extend', { length: tLength(view.block_s), price: tMoney(view.price) }) : t('top_up', { price: tMoney(view.price) }));
  const short = view.available !== null && view.available.amount < view.price.amount;
  button.disabled = buying !== null || !view.can_extend || short;
  const balance = view.available ? t('balance', { amount: tMoney(view.available) }) : '';
  const notNow = view.state === 'connecting' ? t('extend_not_now') : isBlock ? '' : t('top_up_full');
  const why = buying ? t('extending') : short ? t(isBlock ? 'extend_short' : 'top_up_short') : !view.can_extend ? notNow : '';
  setText(byId('extend-note', HTMLElement), [balance, why].filter(Boolean).join(t('joint')));
}

function extend() {
  if (buying) return;
  buying = { key: newKey(), seqs: [], attempts: 0, timer: 0 };
  sayExtend();
}

function sayExtend() {
  if (!buying) return;
  if (buying.attempts >= EXTEND_ATTEMPTS) {
    // The wish may still reach the server, where its key makes it count once; what became of it will show in the countdown.
    bought();
    stage.say(t('extend_no_answer'), 'bad');
    return;
  }
  buying.attempts += 1;
  buying.seqs.push(session.send({ type: 'extend', key: buying.key }));
  clearTimeout(buying.timer);
  buying.timer = setTimeout(sayExtend, EXTEND_AGAIN_MS);
  drawExtend();
}

function bought() {
  clearTimeout(buying?.timer);
  buying = null;
  drawExtend();
}

/** @param {import('./wire.js').ToPage} message */
function heard(message) {
  if (message.type === 'warning') {
    stage.say(t('warning', { length: tLength(message.remaining_s) }), 'warn');
  } else if (message.type === 'extended') {
    if (message.by === 'client') bought();
    const values = { length: tLength(message.added_s), by: t(`by_${message.by}`), name: session.other?.name ?? '' };
    const key = message.by === 'client' ? 'extended_self' : message.free ? 'extended_free' : 'extended_paid';
    stage.say(t(key, values), 'good');
  } else if (message.type === 'error') {
    if (message.re !== null && buying?.seqs.includes(message.re)) bought();
    stage.hangUpFailed();
    stage.say(errorWords(message.code), 'bad');
  }
}

/** Opens what is not open yet, then takes part. */
async function join() {
  if (joining || session.joined) return;
  joining = true;
  byId('join', HTMLButtonElement).disabled = true;
  const { devices } = session;
  const refusedBefore = devices.microphoneTrouble !== null;
  if (opening) await Promise.race([opening, new Promise((done) => setTimeout(done, REOPEN_WITHIN_MS))]);
  else if (!devices.microphone && !refusedBefore) await devices.openMicrophone();
  opening = null;
  joining = false;
  byId('join', HTMLButtonElement).disabled = false;
  // The first refusal is said and the button offers to listen only; a reload in mid-call goes back in either way.
  if (devices.microphoneTrouble && !refusedBefore && !session.shouldRejoin) return draw();
  level.close();
  session.join();
  if (session.wantsCamera && !devices.camera) void devices.openCamera();
  draw();
}

async function checkMicrophone() {
  await session.devices.openMicrophone();
  level.listen(session.devices.microphone);
  await fillChoices();
}

async function fillChoices() {
  const { devices } = session;
  const lists = { 'choose-microphone': devices.list('audioinput'), 'choose-camera': devices.list('videoinput'), 'choose-speaker': speaker.list() };
  for (const [id, list] of Object.entries(lists)) {
    const choices = await list;
    if (id === 'choose-speaker') byId('choose-speaker-field', HTMLElement).hidden = choices.length < 2;
    byId(id, HTMLSelectElement).replaceChildren(
      ...choices.map((choice, index) => new Option(choice.name || t('device_unnamed', { number: index + 1 }), choice.id, choice.chosen, choice.chosen)),
    );
  }
}

function showLevel() {
  if (document.body.dataset.screen !== 'check' || !session.devices.microphone) return;
  const now = level.read();
  byId('level-bar', HTMLElement).style.transform = `scaleX(${now.toFixed(2)})`;
  byId('level', HTMLElement).setAttribute('aria-valuenow', String(Math.round(now * 100)));
  if (now > HEARD_LEVEL && !heardVoice) {
    heardVoice = true;
    draw();
  }
}

byId('join', HTMLElement).addEventListener('click', () => void join());
byId('extend', HTMLElement).addEventListener('click', extend);
byId('goodnight-receipt', HTMLElement).addEventListener('click', () => {
  night.wakeUp();
  draw();
});
byId('print', HTMLElement).addEventListener('click', () => print());
byId('check-microphone', HTMLElement).addEventListener('click', () => void checkMicrophone());
byId('check-speaker', HTMLElement).addEventListener('click', () => void speaker.test());
byId('choose-speaker', HTMLSelectElement).addEventListener('change', (event) => {
  void speaker.choose(/** @type {HTMLSelectElement} */ (event.target).value);
});
byId('check-camera', HTMLElement).addEventListener('click', async () => {
  await session.setCamera(session.devices.camera === null);
  await fillChoices();
});
byId('choose-microphone', HTMLSelectElement).addEventListener('change', async (event) => {
  await session.devices.openMicrophone(/** @type {HTMLSelectElement} */ (event.target).value);
  level.listen(session.devices.microphone);
});
byId('choose-camera', HTMLSelectElement).addEventListener('change', (event) => {
  void session.devices.openCamera(/** @type {HTMLSelectElement} */ (event.target).value);
});
navigator.mediaDevices?.addEventListener('devicechange', () => void fillChoices());
setInterval(showLevel, LEVEL_EVERY_MS);
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

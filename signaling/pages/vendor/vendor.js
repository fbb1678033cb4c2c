// The vendor's page: signs in with the one-time code behind the `#`, then shows the board, the forms and the settled calls.

import { byId, setText, showScreen } from '../dom.js';
import { onLanguage } from '../i18n.js';
import { errorWords } from '../call/words.js';
import { get, onSignedOut, Refused, signIn, signOut } from './api.js';
import * as create from './create.js';
import * as live from './live.js';
import './plan.js';
import * as settled from './settled.js';
import * as settlement from './settlement.js';
import * as setup from './setup.js';
import * as webhooks from './webhooks.js';
import './wallet.js';

const VIEWS = /** @type {const} */ (['live', 'settled', 'setup', 'credit']);

/** Why nobody is signed in: an error code. */
let why = '';

/** @param {string} code */
function ask(code) {
  why = code;
  live.setShown(false);
  byId('sign-out', HTMLElement).hidden = true;
  setText(byId('vendor-name', HTMLElement), '');
  setText(byId('signin-text', HTMLElement), errorWords(code));
  byId('signin-retry', HTMLElement).hidden = code === 'login_invalid' || code === 'signed_out';
  showScreen('signin');
}

/** @param {(typeof VIEWS)[number]} name */
function show(name) {
  for (const view of VIEWS) {
    byId(`view-${view}`, HTMLElement).hidden = view !== name;
    const button = byId(`show-${view}`, HTMLElement);
    if (view === name) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
  }
  document.body.dataset.view = name;
  live.setShown(name === 'live');
  if (name === 'settled') void settled.load();
  if (name === 'setup') void settlement.load();
  if (name === 'setup') void webhooks.load().catch(() => null); // what was read before stays
}

async function start() {
  const code = location.hash.slice(1);
  // The code must not stay in the address bar or the history, used up or not.
  if (code) history.replaceState(null, '', location.pathname + location.search);
  try {
    const session = code ? await signIn(code).catch(alreadyIn) : await get('/session');
    setText(byId('vendor-name', HTMLElement), session.vendor_name);
    byId('sign-out', HTMLElement).hidden = false;
    await setup.load();
    await webhooks.load();
    showScreen('home');
    show('live');
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    ask(error.code);
  }
}

/** A used link opened again by somebody who is signed in anyway. @param {unknown} error @returns {Promise<any>} */
async function alreadyIn(error) {
  if (!(error instanceof Refused && error.code === 'login_invalid')) throw error;
  return get('/session').catch(() => {
    throw error;
  });
}

for (const view of VIEWS) byId(`show-${view}`, HTMLElement).addEventListener('click', () => show(view));
byId('new-call', HTMLElement).addEventListener('click', () => {
  byId('new-title', HTMLElement).scrollIntoView({ block: 'start' });
  byId('call-plan', HTMLElement).focus({ preventScroll: true });
});
byId('call-setup', HTMLElement).addEventListener('click', () => {
  show('setup');
  byId('plan-name', HTMLElement).focus();
});
byId('signin-retry', HTMLElement).addEventListener('click', () => location.reload());
byId('sign-out', HTMLElement).addEventListener('click', async () => {
  await signOut().catch(() => null); // a session that cannot be ended now ends by itself
  ask('signed_out');
});
addEventListener('hashchange', () => location.reload());
onSignedOut(() => ask('unauthorized'));
create.onMade(() => void live.refresh());
onLanguage(() => {
  if (why) setText(byId('signin-text', HTMLElement), errorWords(why));
});

await start();

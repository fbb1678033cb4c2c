// How things stand and why they ended, as sentences for the person who reads. No document, no clock.

import { t, tLength, tMoney, tWord } from '../i18n.js';

/** @typedef {import('./session.js').Session} Session */
/** @typedef {import('./wire.js').Role} Role */

/** It is a matter of degree; from here on a period of breath is called even. */
const EVEN_BP = 7_500;
/** Less than this is lost on every line. */
const LOST_BP = 500;

/**
 * The state of the call.
 * @param {Session} session
 * @returns {string}
 */
export function stateWords(session) {
  const { view, role, other } = session;
  if (!view || !other) return '';
  const name = other.name;
  if (session.transport === 'lost') return t('state_lost');
  if (session.transport === 'joining') return view.state === 'connecting' ? t('state_joining') : t('state_rejoining');
  if (view.night?.phase === 'landing') return role === 'companion' ? t('state_landing', { name }) : '';
  if (view.state === 'live' && session.stalled) return t('state_stalled');
  if (view.state === 'live') return t('state_live', { name });
  if (view.state === 'paused') {
    if (view.paused_by === role) return t('state_paused_self');
    if (view.paused_by === 'platform') return t('state_paused_platform');
    return t('state_paused_other', { name });
  }
  return other.present ? t('state_almost') : t('state_waiting', { name });
}

/**
 * What else is worth knowing right now; empty when all is well.
 * @param {Session} session
 * @returns {string}
 */
export function lineWords(session) {
  const { view, me, other } = session;
  if (!view || !me || !other) return '';
  if (!navigator.onLine) return t('line_offline');
  if (!session.linked) return session.transport === 'connected' ? t('line_lost_talking') : t('line_lost');
  if (view.media === 'video' && me.audio_only) return t('line_self_audio_only');
  if (view.media === 'video' && other.audio_only) return t('line_other_audio_only', { name: other.name });
  if (view.state === 'live' && !other.audio) return t('line_other_muted', { name: other.name });
  if (!session.devices.microphone) return t('line_listening_only');
  return '';
}

/**
 * What it costs to hang up now.
 * @param {Session} session
 * @returns {string}
 */
export function hangUpWords({ view, role }) {
  if (!view || view.state === 'connecting') return t('hang_up_early');
  if (role === 'companion') return t('hang_up_companion');
  return t(view.plan_kind === 'block' ? 'hang_up_client' : view.plan_kind === 'flat' ? 'hang_up_client_flat' : 'hang_up_client_metered');
}

/**
 * The party an end reason is about.
 * @param {string} reason
 * @param {string} atFault
 * @returns {string}
 */
function about(reason, atFault) {
  if (reason === 'media_timeout') return atFault;
  if (reason === 'abuse_reported' || reason === 'asleep') return 'client';
  return /^(client|companion)_/.exec(reason)?.[1] ?? '';
}

/**
 * Why a call ended.
 * @param {string} reason
 * @param {string} atFault
 * @param {Role | 'vendor'} reader
 * @returns {string}
 */
export function endWords(reason, atFault, reader) {
  const party = about(reason, atFault);
  if (!party) return tWord(`end_${reason}`, 'end_unknown');
  const whose = party === 'platform' || reader === 'vendor' ? party : party === reader ? 'self' : 'other';
  return tWord(`end_${reason}_${whose}`, 'end_unknown');
}

/**
 * How long the call may be, before it begins.
 * @param {import('./wire.js').CallView} view
 * @returns {string}
 */
export function lengthWords(view) {
  if (view.plan_kind === 'block') return tLength(view.paid_s);
  return view.limited ? t('length_up_to', { length: tLength(view.paid_s) }) : t('length_open');
}

/**
 * What is sold, at which price.
 * @param {import('./wire.js').CallView} view
 * @returns {string}
 */
export function priceWords(view) {
  if (view.rate) return t('price_metered', { rate: tMoney(view.rate.per_minute), held: tMoney(view.price) });
  if (view.plan_kind === 'flat') return t('price_flat', { price: tMoney(view.price) });
  return t('price_per', { price: tMoney(view.price), length: tLength(view.block_s) });
}

/**
 * What a metered call has cost so far, as the server rates it.
 * @param {import('./wire.js').CallView} view
 * @returns {string} empty for other calls
 */
export function spentWords(view) {
  if (!view.rate || !view.spent || !view.held) return '';
  return t('spent', { spent: tMoney(view.spent), held: tMoney(view.held), rate: tMoney(view.rate.per_minute) });
}

/**
 * What the client was and was not charged for.
 * @param {import('./wire.js').Receipt} receipt
 * @returns {string}
 */
export function chargeWords(receipt) {
  if (!receipt.charge || receipt.charge.amount === 0) return t('promise_free');
  if (receipt.end_reason === 'asleep') return t('promise_asleep');
  if (receipt.end_reason === 'time_expired') return t('promise_expired');
  const inBlocks = receipt.lines?.every((line) => line.label === 'block') ?? true;
  if (receipt.settlement) return t(receipt.settlement === 'exact_delivered' ? 'promise_exact' : inBlocks ? 'promise_rated' : 'promise_expired');
  const ours = receipt.at_fault === 'companion' || receipt.at_fault === 'platform';
  const exact = ours || ['vendor_ended', 'supervisor_ended', 'server_fault', 'companion_left'].includes(receipt.end_reason);
  return t(exact ? 'promise_exact' : 'promise_rated');
}

/**
 * The sentence of an error code.
 * @param {string} code
 * @returns {string}
 */
export function errorWords(code) {
  return tWord(`error_${code}`, 'error_unknown');
}

/**
 * The figures a verdict rests on, each a few words.
 * @param {import('./wire.js').Grounds | null | undefined} grounds
 * @returns {string[]}
 */
export function groundsWords(grounds) {
  if (!grounds) return [];
  const { period_ms, constancy_bp = 0, quiet_s = 0, movements = 0, missing_bp = 0, unanswered = 0 } = grounds;
  const words = [];
  if (quiet_s >= 60) words.push(t('ground_quiet', { length: tLength(Math.floor(quiet_s / 60) * 60) }));
  if (period_ms) words.push(t(constancy_bp >= EVEN_BP ? 'ground_even' : 'ground_uneven', { seconds: (period_ms / 1000).toFixed(1) }));
  if (movements > 0) words.push(t(movements === 1 ? 'ground_moved_one' : 'ground_moved_many', { count: movements }));
  if (unanswered > 0) words.push(t(unanswered === 1 ? 'ground_unanswered_one' : 'ground_unanswered_many', { count: unanswered }));
  if (missing_bp >= LOST_BP) words.push(t('ground_lost', { percent: Math.round(missing_bp / 100) }));
  return words;
}

/**
 * What decided a verdict on the client's sleep.
 * @param {string} why
 * @param {string} name the client's; empty where it is not to be said
 * @returns {string}
 */
export function whyWords(why, name) {
  return tWord(`why_${why}`, 'why_other', { name });
}

// The REST interface as the vendor's page uses it. A submission keeps its key until it has a definite answer,
// so that pressing the button again after a lost connection never buys or credits twice.

import { newKey } from '../call/wire.js';

/** @typedef {import('../call/wire.js').Amount} Amount */

/**
 * @typedef {object} Plan
 * @property {string} id
 * @property {string} name
 * @property {import('../call/wire.js').PlanKind} kind
 * @property {number} [block_s]
 * @property {Amount} [price]
 * @property {Amount} hold
 * @property {string} currency
 * @property {number} [rate_minor_per_min]
 * @property {{ label: string, start: string, end: string, rate_minor_per_min: number }[]} [windows]
 * @property {string | null} grade
 */

/** @typedef {{ id: string, name: string, grade: string | null }} Companion */

/**
 * @typedef {object} Call
 * @property {string} id
 * @property {'connecting' | 'live' | 'paused' | 'landing' | 'ended' | 'settled'} state
 * @property {'audio' | 'video'} media
 * @property {string} plan_name
 * @property {string} client_ref
 * @property {string | null} client_name
 * @property {string} companion_name
 * @property {string | null} grade_paid
 * @property {import('../call/wire.js').PlanKind} plan_kind
 * @property {Amount} price
 * @property {number | null} block_s
 * @property {number} blocks
 * @property {Amount} held
 * @property {Amount} spent
 * @property {import('../call/wire.js').Rate | null} rate
 * @property {number | null} paid_s
 * @property {number} remaining_ms
 * @property {boolean} running
 * @property {string | null} paused_by
 * @property {{ phase: string, sleep: import('../call/wire.js').Sleep } | null} [night] of calls until asleep
 * @property {{ present: boolean, url?: string }} client
 * @property {{ present: boolean, url?: string }} companion
 * @property {number} delivered_ms
 * @property {string} created_at
 * @property {string | null} ended_at
 * @property {string | null} end_reason
 * @property {string | null} at_fault
 * @property {Amount | null} charge
 * @property {Amount | null} refund
 * @property {Adjustment[]} [adjustments] what went back after it was settled
 */

/**
 * @typedef {object} Adjustment
 * @property {'refund' | 'adjustment'} kind
 * @property {'to_client' | 'from_client'} direction
 * @property {Amount} amount
 * @property {string} reason a refund's words, or an adjustment's code
 * @property {string | null} text an adjustment's words
 * @property {string} at
 */

/**
 * @typedef {object} Line a movement of a wallet
 * @property {'credit' | 'capture' | 'wallet_refund' | 'call_refund' | 'adjustment'} kind
 * @property {Amount} amount
 * @property {Amount} balance after it
 * @property {string | null} order_ref
 * @property {string | null} text
 * @property {string} at
 */

/** @typedef {{ client: { url: string }, companion: { url: string } }} Links */

/** @typedef {{ posted: Amount, held: Amount, available: Amount }} Wallet */

/**
 * @template T
 * @typedef {{ items: T[], next_cursor: string | null }} List
 */

/** What the server refused, or `offline` when nobody knows. */
export class Refused extends Error {
  /**
   * @param {string} code
   * @param {string} [detail] a sentence in English
   * @param {string} [field]
   */
  constructor(code, detail = '', field = '') {
    super(detail || code);
    this.code = code;
    this.detail = detail;
    this.field = field;
  }
}

/** Called when the session is over. */
let signedOut = () => {};

/** @param {() => void} listener */
export function onSignedOut(listener) {
  signedOut = listener;
}

/**
 * @param {string} path below `/v1`
 * @param {RequestInit} init
 * @returns {Promise<any>}
 */
async function request(path, init) {
  let response;
  try {
    response = await fetch(`/v1${path}`, { ...init, credentials: 'same-origin', cache: 'no-store' });
  } catch {
    throw new Refused('offline');
  }
  return answerOf(response);
}

/**
 * What an answer says; thrown if it refuses.
 * @param {Response} response
 * @returns {Promise<any>}
 */
async function answerOf(response) {
  let body;
  try {
    const text = await response.text();
    body = text ? JSON.parse(text) : null;
  } catch {
    throw new Refused('offline');
  }
  if (response.ok) return body;
  const code = typeof body?.code === 'string' ? body.code : 'internal';
  if (code === 'unauthorized') signedOut();
  throw new Refused(code, body?.detail ?? '', body?.field ?? '');
}

/**
 * Whether something can be had that is too large to be read here; thrown if not.
 * @param {string} path below `/v1`
 */
export async function reach(path) {
  const stop = new AbortController();
  let response;
  try {
    response = await fetch(`/v1${path}`, { credentials: 'same-origin', cache: 'no-store', signal: stop.signal });
  } catch {
    throw new Refused('offline');
  }
  if (!response.ok) await answerOf(response);
  stop.abort();
}

/** @param {string} path below `/v1` */
export function get(path) {
  return request(path, {});
}

/** Signs in with a one-time code. @param {string} code */
export function signIn(code) {
  return request('/session', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ code }) });
}

/**
 * Sets something; doing it twice is doing it once.
 * @param {string} path below `/v1`
 * @param {unknown} body
 */
export function put(path, body) {
  return request(path, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
}

/** Deletes something; doing it twice is doing it once. @param {string} path below `/v1` */
export function remove(path) {
  return request(path, { method: 'DELETE' });
}

export function signOut() {
  return request('/session', { method: 'DELETE' });
}

/** Everything of a list that is short by nature (plans, companions): at most 1,000. @param {string} path */
export async function all(path) {
  const items = [];
  let after = '';
  for (let part = 0; part < 5; part += 1) {
    const list = await get(`${path}?limit=200${after && `&after=${encodeURIComponent(after)}`}`);
    items.push(...list.items);
    if (!list.next_cursor) break;
    after = list.next_cursor;
  }
  return items;
}

/**
 * What a client has to spend in a currency; the credit's own answer cannot say it.
 * @param {string} client
 * @param {string} currency
 * @returns {Promise<Amount | null>} null where it cannot be learnt now: the credit counts all the same
 */
export async function available(client, currency) {
  try {
    const { wallets } = /** @type {{ wallets: Wallet[] }} */ (await get(`/clients/${encodeURIComponent(client)}`));
    return wallets.find((wallet) => wallet.available.currency === currency.toUpperCase())?.available ?? null;
  } catch {
    return null;
  }
}

/** Answers after which nobody knows whether it counted, or that a repetition of the very same request may cure. */
const OPEN = new Set(['offline', 'internal', 'storage', 'overloaded', 'rate_limited', 'unauthorized']);

/** One form or button: the same content sent again is the same request. */
export class Submission {
  #key = '';
  #content = '';

  /**
   * @param {string} path below `/v1`
   * @param {unknown} body
   */
  async post(path, body) {
    const content = `${path}\n${JSON.stringify(body)}`;
    if (content !== this.#content) {
      this.#key = newKey();
      this.#content = content;
    }
    try {
      const headers = { 'content-type': 'application/json', 'idempotency-key': this.#key };
      const answer = await request(path, { method: 'POST', headers, body: JSON.stringify(body) });
      this.#content = '';
      return answer;
    } catch (error) {
      if (!(error instanceof Refused && OPEN.has(error.code))) this.#content = '';
      throw error;
    }
  }
}

// The messages between page and server, as types, and the one place where text becomes a message.
// The authority is `message.rs`; fields this page does not know are ignored.

/** The version of the messages. */
export const VERSION = 1;

/** @typedef {'client' | 'companion'} Role */

/** @typedef {{ amount: number, currency: string }} Amount Minor units of an ISO 4217 currency. */

/**
 * @typedef {object} PartyView
 * @property {string} name text, never markup
 * @property {boolean} present the leg is connected and heard
 * @property {boolean} audio the microphone is on
 * @property {boolean} video the camera is on
 * @property {boolean} audio_only in a video call: this browser can carry no video
 */

/**
 * @typedef {object} CallView the call as one party may see it; durations as of the moment the message was made
 * @property {string} id
 * @property {'connecting' | 'live' | 'paused' | 'landing' | 'ended'} state
 * @property {'audio' | 'video'} media
 * @property {string} plan_name
 * @property {string | null} grade_paid
 * @property {string | null} grade_delivered
 * @property {PlanKind} plan_kind
 * @property {number} block_s 0 of plans without blocks
 * @property {Amount} price of a block or of the whole call; of metered calls what a top-up sets aside
 * @property {Rate | null} rate what a minute costs now, of metered calls
 * @property {Amount | null} held for the client: what is set aside in all
 * @property {Amount | null} spent for the client: the charge if she ended the call now
 * @property {boolean} limited the paid time runs out
 * @property {number} blocks
 * @property {number} paid_s
 * @property {number} gift_s
 * @property {number} delivered_ms
 * @property {number} remaining_ms
 * @property {boolean} running
 * @property {Fault | null} paused_by
 * @property {number | null} pause_left_ms
 * @property {PartyView} client
 * @property {PartyView} companion
 * @property {Amount | null} available
 * @property {boolean} can_extend
 * @property {Amount | null} [pay] her part of one block or of the whole price; none of metered calls
 * @property {Amount | null} earned
 * @property {number | null} gift_left_s
 * @property {string | null} end_reason
 * @property {string | null} at_fault
 * @property {Receipt | null} receipt
 * @property {NightView | null} [night] of a call until asleep
 * @property {RecordingView | null} [recording] where the plan allows it
 */

/**
 * @typedef {object} NightView what the server takes the client for, and what follows; durations as of the moment the message was made
 * @property {'listening' | 'lingering' | 'landing'} phase
 * @property {Sleep} sleep
 * @property {number} sleep_for_ms
 * @property {number | null} [phase_left_ms] until lingering or landing is over
 * @property {string | null} [why] for the companion: what decided, in one word
 * @property {Grounds | null} [grounds] for the companion
 * @property {boolean} [suggest] for the companion: something said softly now would tell more
 */

/** @typedef {'awake' | 'drowsy' | 'asleep' | 'unknown'} Sleep */

/**
 * @typedef {object} Grounds what a verdict rests on
 * @property {number | null} [period_ms] of her breathing
 * @property {number} [constancy_bp] how constant that stays, in basis points
 * @property {number} [quiet_s] since she last spoke
 * @property {number} [movements] in the last five minutes
 * @property {number} [missing_bp] of the last minute's sound, in basis points
 * @property {number} [unanswered] how often nothing came back
 */

/**
 * @typedef {object} RecordingView
 * @property {boolean} client she said yes
 * @property {boolean} companion she said yes
 * @property {boolean} running
 * @property {number} keep_days
 * @property {string | null} [stopped] why, in one word
 */

/** @typedef {'block' | 'per_minute' | 'flat' | 'until_asleep'} PlanKind */

/** @typedef {{ label: string, per_minute: Amount }} Rate */

/** @typedef {'client' | 'companion' | 'platform'} Fault */

/** @typedef {'client' | 'companion' | 'vendor'} Asker */

/**
 * @typedef {object} Line one line of a receipt
 * @property {string} label
 * @property {number} quantity
 * @property {string} unit `block`, `s` or `call`
 * @property {Amount} amount
 */

/**
 * @typedef {object} Receipt the client's receipt; a companion's statement has `earned` and no money besides
 * @property {string} call_id
 * @property {string} [plan_name]
 * @property {string | null} [grade_paid]
 * @property {string | null} [grade_delivered]
 * @property {string} [companion_name]
 * @property {string | null} started_at
 * @property {string | null} ended_at
 * @property {number} delivered_ms
 * @property {number} [billed_s]
 * @property {number} [paid_s]
 * @property {number} [gift_s]
 * @property {string} end_reason
 * @property {string} at_fault
 * @property {Line[]} [lines]
 * @property {Amount} [charge]
 * @property {Amount} [refund]
 * @property {Amount} [held] all that was set aside: charge and refund together
 * @property {string} [settlement] `as_rated`, `exact_delivered` or `free`
 * @property {{ client: number, companion: number, platform: number }} [paused_ms] how long the clock stood, by whose line
 * @property {{ rounding?: string }} [plan] the rules it was rated by
 * @property {string} [record_hash] SHA-256 of the call's record
 * @property {{ by: Asker, at: string, added_s: number | null, kind?: 'block' | 'top_up' | 'gift', free?: boolean, amount?: Amount }[]} [extensions]
 * @property {Amount} [earned]
 * @property {{ kind: 'refund' | 'adjustment', direction: 'to_client' | 'from_client', amount: Amount, at: string }[]} [adjustments] what went back later
 */

/**
 * What a page says.
 * @typedef {{ type: 'hello', token: string, page: string }
 *   | { type: 'offer', sdp: string }
 *   | { type: 'ice_restart', sdp: string }
 *   | { type: 'extend', key: string }
 *   | { type: 'gift', key: string, minutes: number }
 *   | { type: 'devices', audio: boolean, video: boolean }
 *   | { type: 'im_here' }
 *   | { type: 'says_asleep' }
 *   | { type: 'says_awake' }
 *   | { type: 'record', consent: boolean }
 *   | { type: 'hang_up' }
 *   | { type: 'report_abuse' }
 *   | { type: 'ping', at: number }} PageBody
 */

/**
 * What the server says.
 * @typedef {{ v: 1, seq: number } & (
 *   { type: 'welcome', role: Role, call: CallView }
 *   | { type: 'answer', re: number, leg: string, sdp: string }
 *   | { type: 'state', call: CallView }
 *   | { type: 'warning', remaining_s: number }
 *   | { type: 'extended', by: Asker, added_s: number, free: boolean }
 *   | { type: 'ended', reason: string, at_fault: string, receipt: Receipt | null }
 *   | { type: 'replaced' }
 *   | { type: 'error', code: string, detail: string, re: number | null }
 *   | { type: 'pong', at: number })} ToPage
 */

const KINDS = new Set(['welcome', 'answer', 'state', 'warning', 'extended', 'ended', 'replaced', 'error', 'pong']);

/**
 * Reads a message; null for what is not one, or of a kind this page does not know.
 * @param {unknown} data
 * @returns {ToPage | null}
 */
export function read(data) {
  if (typeof data !== 'string') return null;
  try {
    const message = JSON.parse(data);
    const known = message !== null && typeof message === 'object' && message.v === VERSION && KINDS.has(message.type);
    return known ? message : null;
  } catch {
    return null;
  }
}

/**
 * A key that makes a request count once.
 * @returns {string} 32 hex digits
 */
export function newKey() {
  // Not randomUUID: that one is missing where a phone opened the page over plain HTTP.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

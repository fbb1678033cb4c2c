// Waiting for what must come: by asking again, never by sleeping and hoping.

import { AssertionError } from 'node:assert';

/** A generous limit: a loaded machine is slow, and a right answer late is still right. */
export const LIMIT_MS = 30_000;
const AGAIN_MS = 100;

/**
 * Asks until the answer is there.
 * @template T
 * @param {string} what for the message of the error: "the client's page is live"
 * @param {() => Promise<T> | T} ask gives something truthy once it is so; what it throws counts as not yet, but a failed
 *   assertion and a `GiveUp` are final
 * @param {{ limitMs?: number, everyMs?: number }} [patience]
 * @returns {Promise<NonNullable<T>>} what was given
 */
export async function until(what, ask, { limitMs = LIMIT_MS, everyMs = AGAIN_MS } = {}) {
  const started = performance.now();
  /** @type {unknown} */
  let last;
  for (;;) {
    try {
      const answer = await ask();
      if (answer) return answer;
      last = answer;
    } catch (error) {
      if (error instanceof GiveUp || error instanceof AssertionError) throw error;
      last = error;
    }
    const waited = performance.now() - started;
    if (waited > limitMs) throw new Error(`not within ${limitMs / 1000} s: ${what}; last seen: ${seen(last)}`);
    await new Promise((done) => setTimeout(done, everyMs));
  }
}

/** Thrown by an `ask` that knows that it will never be so. */
export class GiveUp extends Error {}

/** @param {unknown} last */
function seen(last) {
  return last instanceof Error ? last.message : JSON.stringify(last);
}

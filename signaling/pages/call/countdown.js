// The countdown: pure functions of a view of the call and two readings of the monotonic clock.
// It only shows; the server meters. A view that says the meter stands does not move.

/**
 * What is left of the paid and given time.
 * @param {{ remaining_ms: number, running: boolean }} view as the server said it
 * @param {number} at `performance.now()` when the view arrived
 * @param {number} now `performance.now()`
 * @returns {number} milliseconds, never below 0
 */
export function left(view, at, now) {
  return since(view.remaining_ms, view.running, at, now);
}

/**
 * A duration that was `ms` long at `at` and shrinks while `running`.
 * @param {number} ms
 * @param {boolean} running
 * @param {number} at
 * @param {number} now
 * @returns {number} milliseconds, never below 0
 */
export function since(ms, running, at, now) {
  return Math.max(0, ms - (running ? Math.max(0, now - at) : 0));
}

/**
 * A duration as a clock shows it: whole seconds, rounded up, so that 0:00 is the end and not the last second.
 * @param {number} ms
 * @returns {string} `0:09`, `14:59`, `1:02:03`
 */
export function clock(ms) {
  const total = Math.ceil(Math.max(0, ms) / 1000);
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  const seconds = String(total % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`;
}

/**
 * How long the shown text stays true.
 * @param {number} ms what is left now
 * @returns {number} milliseconds until `clock` shows less, 2 to 1001
 */
export function untilChange(ms) {
  // Whole seconds change as they are reached; one millisecond more, since timers may be early.
  return ((Math.ceil(ms) + 999) % 1000) + 2;
}

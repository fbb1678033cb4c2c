// The countdown and what grows with it: pure functions of a view of the call and two readings of the monotonic clock.
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
 * What the large timer shows: what is left, or of a call that no paid time ends how long it has lasted.
 * @param {{ remaining_ms: number, delivered_ms: number, limited: boolean, running: boolean }} view as the server said it
 * @param {number} at `performance.now()` when the view arrived
 * @param {number} now `performance.now()`
 * @returns {{ ms: number, down: boolean, next: number }} `down`: it counts down; `next`: milliseconds until the text changes
 */
export function timer(view, at, now) {
  if (view.limited) {
    const ms = left(view, at, now);
    return { ms, down: true, next: untilChange(ms) };
  }
  const passed = view.delivered_ms + (view.running ? Math.max(0, now - at) : 0);
  return { ms: Math.floor(passed / 1000) * 1000, down: false, next: 1002 - (Math.floor(passed) % 1000) };
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
 * The companion's part so far: every block that has begun is hers, should the client hang up now. The server says it
 * with each view; between two views a block may begin.
 * @param {import('./wire.js').CallView} view
 * @param {number} at `performance.now()` when the view arrived
 * @param {number} now `performance.now()`
 * @returns {import('./wire.js').Amount | null}
 */
export function earnedNow(view, at, now) {
  if (!view.earned || !view.pay || view.plan_kind !== 'block') return view.earned;
  const seconds = Math.floor((view.delivered_ms + (view.running ? Math.max(0, now - at) : 0)) / 1000);
  const begun = Math.min(view.blocks, Math.ceil(seconds / view.block_s));
  return { ...view.earned, amount: Math.max(view.earned.amount, view.pay.amount * begun) };
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

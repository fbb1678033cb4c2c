// The verdict of the table, on figures that are made up.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MARKS, middle, verdict } from './verdict.mjs';

/** @typedef {import('./verdict.mjs').Judged} Judged */

/** A page on a line that is not bad. @param {Partial<Judged>} [other] @returns {Judged} */
function page(other) {
  return { concealed: 2, delay: 100, freezes: 1, frozen: 1, estimates: Object.fromEntries(MARKS.map((mark) => [mark, 1000])), ...other };
}

/** Repeats in which both pages fared alike. @param {Partial<Judged>[]} repeats */
function both(...repeats) {
  return repeats.map((other) => ({ client: page(other), companion: page(other) }));
}

test('lull may be as good, better, and worse by less than repeats differ', () => {
  for (const lull of [{}, { concealed: 0, delay: 20, freezes: 0, frozen: 0 }, { concealed: 3.5, delay: 130, freezes: 5, frozen: 4 }]) {
    assert.deepEqual(verdict({ clear: { lull: both(lull), direct: both({}) }, 'loss-5': { lull: both(lull), direct: both({}) } }), []);
  }
  // Where both are bad the margin is a share.
  assert.deepEqual(verdict({ 'loss-20': { lull: both({ concealed: 25, delay: 500 }), direct: both({ concealed: 20, delay: 400 }) } }), []);
});

test('each figure that is worse is said, with its network and whose page it is', () => {
  for (const [other, said] of /** @type {[Partial<Judged>, string][]} */ ([
    [{ concealed: 3.51 }, 'sound made up, %: 3.51 against 2'],
    [{ delay: 131 }, 'sound waits, ms: 131 against 100'],
    [{ freezes: 5.1 }, 'freezes a minute: 5.1 against 1'],
    [{ frozen: 4.1 }, 'frozen, % of time: 4.1 against 1'],
    [{ frozen: NaN }, 'frozen, % of time: NaN against 1'],
  ])) {
    const lull = [{ client: page({}), companion: page(other) }];
    assert.deepEqual(verdict({ nat: { lull, direct: both({}) } }), [`- worse: nat, companion's page: ${said}`]);
  }
});

test('the median decides, not one bad repeat, and not one good one', () => {
  const bad = { concealed: 30 };
  assert.deepEqual(verdict({ jitter: { lull: both({}, bad, {}), direct: both({}, {}, {}) } }), []);
  assert.equal(verdict({ jitter: { lull: both(bad, {}, bad), direct: both({}, {}, {}) } }).length, 2);
  assert.equal(middle([5, 1, 9]), 5);
  assert.equal(middle([1, 2]), 1.5);
});

test('on a clear line the estimate must come up as fast', () => {
  const slow = (/** @type {number} */ kbps) => both({ estimates: { 5: 1000, 10: kbps, 20: 1000, 30: 1000 } });
  assert.deepEqual(verdict({ clear: { lull: slow(900), direct: both({}) } }), []);
  assert.deepEqual(verdict({ clear: { lull: slow(899), direct: both({}) } }), ['- worse: clear: estimate at 10 s: 899 against 1000 kbit/s']);
  assert.deepEqual(verdict({ 'loss-1': { lull: slow(1), direct: both({}) } }), [], 'elsewhere it is told only');
  assert.equal(verdict({ clear: { lull: both({ estimates: {} }), direct: both({}) } }).length, MARKS.length, 'none is none');
});

// Whether a call through lull is worse than the same two browsers connected directly: the medians of both, with a margin for what
// repeats of one and the same way differ by. Pure; verdict.test.mjs tries it on rows that are made up.

import { round } from './figures.mjs';

/** Seconds at which bitrates are told. */
export const MARKS = [5, 10, 20, 30];
/** Estimates of a clear line must reach this share of what the direct connection reaches in the same time. */
const RAMP = 0.9;

/** Figures told, how, and by how much lull may be above the direct connection before it is worse. */
export const ROWS = /** @type {const} */ ([
  ['concealed', 'sound made up, %', { plus: 1.5, times: 1.25 }],
  ['delay', 'sound waits, ms', { plus: 30, times: 1.25 }],
  ['freezes', 'freezes a minute', { plus: 4, times: 1.25 }],
  ['frozen', 'frozen, % of time', { plus: 3, times: 1.25 }],
]);

/** @typedef {Pick<import('./figures.mjs').Figures, 'concealed' | 'delay' | 'freezes' | 'frozen' | 'estimates'>} Judged */
/** @typedef {Record<'client' | 'companion', import('./figures.mjs').Figures>} Pair by who hears and sees */
/** @typedef {{ what: string, lull: Pair[], direct: Pair[] }} Result each repeat */
/** @typedef {{ lull: Record<'client' | 'companion', Judged>[], direct: Record<'client' | 'companion', Judged>[] }} Runs what is looked at of it */

/**
 * A line for each figure by which lull is worse, beyond the margin; none if all is well. A network of which one way has no figures says nothing.
 * @param {Record<string, Runs>} results by network
 */
export function verdict(results) {
  return Object.entries(results).flatMap(([name, runs]) => (runs.lull.length > 0 && runs.direct.length > 0 ? worse(name, runs) : []));
}

/** @param {string} name @param {Runs} runs */
function worse(name, { lull, direct }) {
  const said = [];
  for (const who of /** @type {const} */ (['client', 'companion'])) {
    for (const [key, title, { plus, times }] of ROWS) {
      const [ours, theirs] = [middle(lull.map((pair) => pair[who][key])), middle(direct.map((pair) => pair[who][key]))];
      // What cannot be compared is not well.
      if (!(ours <= Math.max(theirs + plus, theirs * times))) said.push(`- worse: ${name}, ${who}'s page: ${title}: ${ours} against ${theirs}`);
    }
  }
  if (name !== 'clear') return said;
  for (const mark of MARKS) {
    const [ours, theirs] = [estimate(lull, mark), estimate(direct, mark)];
    if (!(ours >= RAMP * theirs)) said.push(`- worse: ${name}: estimate at ${mark} s: ${ours} against ${theirs} kbit/s`);
  }
  return said;
}

/**
 * Of both pages.
 * @param {Runs['lull']} pairs @param {number} mark
 */
export function estimate(pairs, mark) {
  return middle(pairs.flatMap(({ client, companion }) => [client, companion]).map(({ estimates }) => estimates[mark] ?? 0));
}

/** The median. @param {number[]} values */
export function middle(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return round(((sorted[Math.floor(half)] ?? 0) + (sorted[Math.ceil(half)] ?? 0)) / 2, 2);
}

// The table: on each network a call through lull and the same two browsers connected directly, one after the other, measured
// over the same window. `make net-table` runs it; S="loss-5 nat" only these networks, the rest of the table is kept from
// earlier runs; REPEAT=3 takes the median of so many. About 90 s a network. Writes logs/net.json and logs/net.md.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import path from 'node:path';
import { Scene } from '../scene.mjs';
import { figures, round } from './figures.mjs';
import { NETWORKS, network } from './lines.mjs';
import { Stage, watch } from './stage.mjs';

const LOGS = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../logs');
/** Seconds from the connection on: how long is measured, from when continuity counts, where bitrates are told. */
const [LENGTH, FROM, MARKS] = [31, 7, [5, 10, 20, 30]];
/** How long the client waits for the companion, as people do: what browsers do in their first seconds is over then. */
const WAIT_MS = 6_000;
/** Second at which the router forgets. */
const REBIND = 12;
/** Estimates of a clear line must reach this share of what the direct connection reaches in the same time. */
const RAMP = 0.9;

/** @typedef {import('./figures.mjs').Figures} Figures */
/** @typedef {Record<'client' | 'companion', Figures>} Pair by who hears and sees */
/** @typedef {{ what: string, lull: Pair[], direct: Pair[] }} Result */

/** Figures told, how, and by how much lull may be above the direct connection before it is worse: what repeats of one way differ by. */
const ROWS = /** @type {const} */ ([
  ['concealed', 'sound made up, %', { plus: 1.5, times: 1.25 }],
  ['delay', 'sound waits, ms', { plus: 30, times: 1.25 }],
  ['freezes', 'freezes a minute', { plus: 4, times: 1.25 }],
  ['frozen', 'frozen, % of time', { plus: 3, times: 1.25 }],
]);

/** @param {string[]} names @param {number} repeats */
async function main(names, repeats) {
  mkdirSync(LOGS, { recursive: true });
  const file = path.join(LOGS, 'net.json');
  /** @type {Record<string, Result>} */
  const results = names.length > 0 && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  let failed = 0;
  for (const network of choose(names)) {
    const started = performance.now();
    try {
      results[network.name] = await measure(network, repeats);
    } catch (error) {
      failed += 1;
      delete results[network.name];
      console.error(`${network.name}: ${error instanceof Error ? error.stack : error}`);
    }
    writeFileSync(file, JSON.stringify(results, null, 1));
    writeFileSync(path.join(LOGS, 'net.md'), `${table(results)}\n`);
    console.error(`${network.name}: ${round((performance.now() - started) / 1000)} s; load ${loadavg()[0]?.toFixed(1)} on ${cpus().length} cores`);
  }
  console.log(table(results));
  console.log(`\nIn ${file} and net.md beside it.`);
  process.exitCode = failed > 0 ? 1 : 0;
}

/** @param {string[]} names */
function choose(names) {
  return names.length > 0 ? names.map(network) : NETWORKS;
}

/**
 * @param {import('./lines.mjs').Network} network
 * @param {number} repeats
 * @returns {Promise<Result>}
 */
async function measure(network, repeats) {
  /** @type {Result} */
  const result = { what: network.what, lull: [], direct: [] };
  for (let round = 0; round < repeats; round += 1) {
    const scene = new Scene(`net ${network.name}`);
    try {
      const stage = await Stage.set(scene, network);
      // Who comes first takes turns.
      for (const way of round % 2 ? /** @type {const} */ (['direct', 'lull']) : /** @type {const} */ (['lull', 'direct'])) {
        const talk = await (way === 'lull' ? stage.call(() => new Promise((done) => setTimeout(done, WAIT_MS))) : stage.direct());
        const seen = await watch(talk, LENGTH, async (second) => network.nat && second === REBIND && (await stage.lab.rebind()));
        // Bursts and gaps or not: in the end each must hear the other.
        await stage.heard(talk, { times: 2, limitMs: 60_000 });
        const window = { from: FROM, marks: MARKS };
        result[way].push({ client: figures(seen.client, window), companion: figures(seen.companion, window) });
        console.error(`${network.name} ${way}: ${await stage.lab.counts()}`);
        await talk.end();
      }
    } catch (error) {
      scene.report();
      await scene.end().catch((also) => console.error(also));
      throw error;
    }
    await scene.end();
  }
  return result;
}

/**
 * As Markdown. Each cell is what the client's page saw, a slash, and what the companion's page saw.
 * @param {Record<string, Result>} results
 */
function table(results) {
  const head = ['network', 'way', ...ROWS.map(([, title]) => title), 'frames/s', 'width', 'round trip, ms', `estimate at ${MARKS.join(', ')} s, kbit/s`, 'sent, kbit/s'];
  const lines = [`| ${head.join(' | ')} |`, `|${'---|'.repeat(head.length)}`];
  const verdicts = [];
  for (const { name } of NETWORKS) {
    const result = results[name];
    if (!result) continue;
    for (const way of /** @type {const} */ (['lull', 'direct'])) {
      const both = (/** @type {(figures: Figures) => number} */ read) =>
        [middle(result[way].map(({ client }) => read(client))), middle(result[way].map(({ companion }) => read(companion)))].join(' / ');
      lines.push(
        `| ${[
          way === 'lull' ? `${name}: ${result.what}` : '',
          way,
          ...ROWS.map(([key]) => both((figures) => figures[key])),
          ...[both(({ fps }) => fps), both(({ width }) => width), both(({ rtt }) => rtt)],
          MARKS.map((mark) => middle(result[way].flatMap(({ client, companion }) => [client, companion]).map(({ estimates }) => estimates[mark] ?? 0))).join(', '),
          both(({ kbps }) => kbps),
        ].join(' | ')} |`,
      );
    }
    verdicts.push(...worse(name, result));
  }
  return `${lines.join('\n')}\n\n${verdicts.length > 0 ? verdicts.join('\n') : 'lull is nowhere worse than the direct connection.'}`;
}

/**
 * Where lull is worse than the direct connection, by more than repeats differ.
 * @param {string} name
 * @param {Result} result
 */
function worse(name, { lull, direct }) {
  const said = [];
  for (const who of /** @type {const} */ (['client', 'companion'])) {
    for (const [key, title, { plus, times }] of ROWS) {
      const [ours, theirs] = [lull, direct].map((pairs) => middle(pairs.map((pair) => pair[who][key]))) ;
      if ((ours ?? 0) > Math.max((theirs ?? 0) + plus, (theirs ?? 0) * times)) said.push(`- worse: ${name}, ${who}'s page: ${title}: ${ours} against ${theirs}`);
    }
  }
  if (name !== 'clear') return said;
  for (const mark of MARKS) {
    const [ours = 0, theirs = 0] = [lull, direct].map((pairs) =>
      middle(pairs.flatMap(({ client, companion }) => [client, companion]).map(({ estimates }) => estimates[mark] ?? 0)),
    );
    if (ours < RAMP * theirs) said.push(`- worse: ${name}: estimate at ${mark} s: ${ours} against ${theirs} kbit/s`);
  }
  return said;
}

/** The median. @param {number[]} values */
function middle(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = (sorted.length - 1) / 2;
  return round(((sorted[Math.floor(half)] ?? 0) + (sorted[Math.ceil(half)] ?? 0)) / 2, 2);
}

await main((process.env.S ?? '').split(/\s+/).filter(Boolean), Number(process.env.REPEAT ?? 1));

// The table: on each network a call through lull and the same two browsers connected directly, one after the other, measured
// over the same window. `make net-table` runs it; S="loss-5 nat" only these networks, the rest of the table is kept from
// earlier runs; REPEAT=3 takes the median of so many. About 90 s a network. Writes logs/net.json and logs/net.md, and fails where
// lull is worse than the direct connection (verdict.mjs says when that is).

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import path from 'node:path';
import { Scene } from '../scene.mjs';
import { figures, round } from './figures.mjs';
import { NETWORKS, network } from './lines.mjs';
import { Stage, watch } from './stage.mjs';
import { MARKS, ROWS, estimate, middle, verdict } from './verdict.mjs';

const LOGS = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../logs');
/** Seconds from the connection on: how long is measured, from when continuity counts. */
const [LENGTH, FROM] = [31, 7];
/** How long the client waits for the companion, as people do: what browsers do in their first seconds is over then. */
const WAIT_MS = 6_000;
/** Second at which the router forgets. */
const REBIND = 12;
/** @typedef {import('./figures.mjs').Figures} Figures */
/** @typedef {import('./verdict.mjs').Result} Result */

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
  process.exitCode = failed > 0 || verdict(results).length > 0 ? 1 : 0;
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
          MARKS.map((mark) => estimate(result[way], mark)).join(', '),
          both(({ kbps }) => kbps),
        ].join(' | ')} |`,
      );
    }
  }
  const worse = verdict(results);
  return `${lines.join('\n')}\n\n${worse.length > 0 ? worse.join('\n') : 'lull is nowhere worse than the direct connection.'}`;
}

await main((process.env.S ?? '').split(/\s+/).filter(Boolean), Number(process.env.REPEAT ?? 1));

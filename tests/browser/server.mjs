// A running `lull serve` of its own for each scene: temporary folder, free ports, its log kept in a file. It is spoken to as a
// vendor's program would: by command line and REST.

import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { GiveUp, until } from './patience.mjs';

const run = promisify(execFile);
export const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '../..');
const PROGRAM = process.env.SERVER_BINARY ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target'), 'debug/lull');
const LOGS = path.join(ROOT, 'tests/browser/logs');

/** The variables that are not settings of lull: those of the person who runs the tests must not count here. */
const ENVIRONMENT = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LULL_')));

/** @typedef {{ amount: number, currency: string }} Amount */
/** @typedef {{ url: string, token: string }} Link */

/**
 * What the tests read of a call.
 * @typedef {object} Call
 * @property {string} id
 * @property {'connecting' | 'live' | 'paused' | 'ended' | 'settled'} state
 * @property {number} blocks
 * @property {number} paid_s
 * @property {number} gift_s
 * @property {number} delivered_ms
 * @property {number} remaining_ms
 * @property {boolean} running
 * @property {string | null} paused_by
 * @property {string | null} started_at
 * @property {string | null} ends_at
 * @property {string | null} ended_at
 * @property {string | null} end_reason
 * @property {string | null} at_fault
 * @property {Amount | null} charge
 * @property {Amount | null} refund
 */

/**
 * What the tests read of a receipt.
 * @typedef {object} Receipt
 * @property {Amount} charge
 * @property {Amount} refund
 * @property {number} delivered_ms
 * @property {number} paid_s
 * @property {string} end_reason
 * @property {string} at_fault
 * @property {{ by: string, kind: 'block' | 'gift', added_s: number }[]} extensions
 */

/**
 * A sale: who calls whom by which plan.
 * @typedef {object} Sale
 * @property {number} [block_s]
 * @property {number} [price] minor units
 * @property {number} [credit] minor units paid in before; default enough for two blocks
 * @property {'audio' | 'video'} [media]
 * @property {string} [plan] its name
 * @property {Record<string, unknown>} [sold] the plan's fields but its name, for one that is not sold in blocks
 * @property {string} [grade]
 * @property {string} [companion] her name
 * @property {string} [client] the name her page shows
 */

/** A running `lull …` whose output is kept in a file. */
class Program {
  #child;
  #log;
  /** @type {Error | null} */
  #failed = null;

  /**
   * @param {string} scene the log is named after it
   * @param {string[]} words of the command line
   * @param {string} folder to run in
   * @param {string} [within] the network namespace it lives in
   */
  constructor(scene, words, folder, within) {
    mkdirSync(LOGS, { recursive: true });
    this.logFile = path.join(LOGS, `${scene.replace(/[^a-z0-9]+/gi, '-')}.log`);
    this.#log = openSync(this.logFile, 'w');
    const [program = PROGRAM, ...all] = [...(within ? ['ip', 'netns', 'exec', within] : []), PROGRAM, ...words];
    this.#child = spawn(program, all, { cwd: folder, stdio: ['ignore', this.#log, this.#log], env: ENVIRONMENT });
    this.#child.on('error', (error) => (this.#failed = error));
  }

  /** What it wrote so far. */
  log() {
    return readFileSync(this.logFile, 'utf8');
  }

  /** Throws if it ended by itself. */
  assertRunning() {
    const { exitCode, signalCode } = this.#child;
    if (this.#failed || exitCode !== null || signalCode) {
      throw new GiveUp(`the program ended: ${this.#failed?.message ?? exitCode ?? signalCode}\n${this.log()}`);
    }
  }

  /** Ends it without a chance to do anything about it. */
  async kill() {
    const ended = new Promise((done) => this.#child.once('exit', done));
    this.#child.kill('SIGKILL');
    await ended;
    closeSync(this.#log);
  }

  /** Ends it in order; one that does not end is killed and that is an error. */
  async stop() {
    const child = this.#child;
    if (child.pid && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      const overdue = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(overdue);
    }
    closeSync(this.#log);
    if (child.signalCode === 'SIGKILL') throw new Error('the program did not end within 15 s of SIGTERM');
  }
}

/** A `lull demo` with its own companion, as a person starts it. */
export class Demo {
  /**
   * @param {Program} program
   * @param {string} folder
   */
  constructor(program, folder) {
    this.program = program;
    this.folder = folder;
    /** What it printed, once it is ready: the built-in companion needs no link. */
    this.links = { client: '', vendor: '' };
  }

  /**
   * @param {string} scene
   * @param {{ lan?: boolean }} [options] `lan`: over HTTPS, with the certificate it makes
   */
  static async start(scene, { lan = false } = {}) {
    const folder = mkdtempSync(path.join(tmpdir(), 'lull-'));
    const [http, udp] = [await freePort('http'), await freePort('media')];
    const https = lan ? ['--lan', '--public-url', `https://localhost:${http}`] : [];
    const program = new Program(scene, ['demo', '--bot', ...https, '--http', `127.0.0.1:${http}`, '--udp', `0.0.0.0:${udp}`], folder);
    const demo = new Demo(program, folder);
    await orStop(
      demo,
      until('the links are printed', () => {
        program.assertRunning();
        for (const page of /** @type {const} */ (['client', 'vendor'])) {
          demo.links[page] = new RegExp(`https?://\\S+/${page}#\\S+`).exec(program.log())?.[0] ?? '';
        }
        return Object.values(demo.links).every(Boolean);
      }),
    );
    return demo;
  }

  log() {
    return this.program.log();
  }

  async stop() {
    await this.program.stop().finally(() => rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 }));
  }
}

export class Server {
  /** @type {Program | null} */
  #program = null;
  /** @type {((again: string) => Program) | null} */
  #launch = null;
  #key = '';
  #vendor = '';

  /**
   * @param {string} folder
   * @param {number} http port
   * @param {number} udp port
   * @param {string} host as links name it
   */
  constructor(folder, http, udp, host) {
    this.folder = folder;
    this.database = `sqlite:${path.join(folder, 'lull.db')}`;
    this.config = path.join(folder, 'lull.toml');
    this.url = `http://${host}:${http}`;
    this.ports = { http, udp };
  }

  /**
   * Starts a server with a vendor, ready to be asked.
   * @param {string} name of the scene
   * @param {{ vendor?: string, publicIps?: string[], settings?: string, at?: { address: string, within: string } }} [options]
   *   `publicIps`: by default the server's own choice, which holds an address besides loopback: Firefox never sends there. `settings`:
   *   more sections of the settings file; `at`: where it lives, if not on this machine's own network
   */
  static async start(name, { vendor = 'Night Line', publicIps = [], settings = '', at } = {}) {
    const bracketed = at?.address.includes(':') ? `[${at.address}]` : at?.address;
    const server = new Server(mkdtempSync(path.join(tmpdir(), 'lull-')), await freePort('http'), await freePort('media'), bracketed ?? 'localhost');
    const { http, udp } = server.ports;
    const [pages, media] = [bracketed ?? '127.0.0.1', bracketed ?? '0.0.0.0'];
    writeFileSync(
      server.config,
      `[http]\nlisten = "${pages}:${http}"\npublic_url = "${server.url}"\n[media]\nlisten = "${media}:${udp}"\n[store]\ndb = "${server.database}"\n${settings}\n`,
    );
    server.#vendor = vendor;
    server.#key = await orStop(server, server.command('vendor', 'add', vendor));
    const flags = at ? [] : publicIps.flatMap((ip) => ['--public-ip', ip]);
    server.#launch = (again) => new Program(`${name}${again}`, ['serve', '--config', server.config, ...flags], server.folder, at?.within);
    server.#program = server.#launch('');
    await orStop(server, server.#isReady());
    return server;
  }

  async #isReady() {
    await until('the server is ready', async () => {
      this.#program?.assertRunning();
      return (await fetch(`${this.url}/readyz`)).ok;
    });
  }

  /** Kills the server and starts it again on the same database and the same ports. */
  async crash() {
    await this.#program?.kill();
    this.#program = this.#launch?.(' after the crash') ?? null;
    await this.#isReady();
  }

  /**
   * Runs `lull …` on this server's database and gives what it prints.
   * @param {...string} words
   */
  async command(...words) {
    const { stdout } = await run(PROGRAM, [...words, '--db', this.database], { env: ENVIRONMENT });
    return stdout.trim();
  }

  /** A fresh one-time link to the vendor's page. */
  async loginLink() {
    const printed = await this.command('vendor', 'link', this.#vendor, '--public-url', this.url);
    const link = /https?:\/\/\S+\/vendor#\S+/.exec(printed)?.[0];
    if (!link) throw new Error(`no link in: ${printed}`);
    return link;
  }

  /**
   * Asks the REST interface as the vendor.
   * @param {'GET' | 'POST' | 'DELETE'} method
   * @param {string} at below `/v1`
   * @param {unknown} [body]
   * @returns {Promise<any>} the answer's body; refusals are thrown
   */
  async ask(method, at, body) {
    const headers = {
      authorization: `Bearer ${this.#key}`,
      ...(method === 'POST' && { 'content-type': 'application/json', 'idempotency-key': randomUUID() }),
    };
    const answer = await fetch(`${this.url}/v1${at}`, { method, headers, ...(method === 'POST' && { body: JSON.stringify(body ?? {}) }) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${at}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  /**
   * Sells a call from nothing: plan, companion, credit, call.
   * @param {Sale} [sale]
   * @returns {Promise<{ id: string, client: Link, companion: Link, client_ref: string }>}
   */
  async sell({ block_s = 900, price = 2000, credit = price * 2, media = 'video', plan = 'Evening', sold, grade, companion = 'Mei', client = 'Lin' } = {}) {
    const money = (/** @type {number} */ amount) => ({ amount, currency: 'CNY' });
    const client_ref = `client-${randomUUID()}`;
    const graded = grade === undefined ? {} : { grade };
    const { id: plan_id } = await this.ask('POST', '/plans', { name: plan, ...(sold ?? { kind: 'block', block_s, price: money(price) }), ...graded });
    const { id: companion_id } = await this.ask('POST', '/companions', { name: companion, ...graded });
    await this.ask('POST', `/clients/${client_ref}/credits`, { amount: money(credit), order_ref: randomUUID() });
    const call = await this.ask('POST', '/calls', { plan_id, client_ref, companion_id, media, client_name: client });
    return { ...call, client_ref };
  }

  /**
   * @param {string} id
   * @returns {Promise<Call>}
   */
  call(id) {
    return this.ask('GET', `/calls/${id}`);
  }

  /**
   * The receipt, once the call is settled.
   * @param {string} id
   * @returns {Promise<Receipt>}
   */
  receipt(id) {
    return until(`the receipt of ${id}`, () => this.ask('GET', `/calls/${id}/receipt`));
  }

  /** What the server wrote so far. */
  log() {
    return this.#program?.log() ?? '';
  }

  async stop() {
    try {
      await this.#program?.stop();
    } finally {
      rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    }
  }
}

/**
 * A step of a start: when it fails, what was started so far is stopped.
 * @template T
 * @param {{ stop(): Promise<void> }} started
 * @param {Promise<T>} step
 */
async function orStop(started, step) {
  try {
    return await step;
  } catch (error) {
    await started.stop().catch(() => null); // the first trouble is the one to tell
    throw error;
  }
}

/**
 * A port that nobody listens on now; for media, neither by UDP nor by TCP.
 * @param {'http' | 'media'} use
 * @returns {Promise<number>}
 */
async function freePort(use) {
  for (;;) {
    const port = await new Promise((resolve, reject) => {
      const probe = createServer().on('error', reject);
      probe.listen(0, () => {
        const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
        probe.close(() => resolve(port));
      });
    });
    if (use === 'http') return port;
    const isFree = await new Promise((resolve) => {
      const probe = createSocket('udp4').on('error', () => resolve(false));
      probe.bind(port, () => probe.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

// A small internet: client, companion and server, each in a network namespace of its own, on a wire that can be made bad.
// The tests themselves are its fourth end, to ask the server. Runs below enter.sh, which takes all of it away in the end.
//
//   client --- [router with NAT] --- the client's line --+-- companion's line --- companion
//                                                        +-- server
//
// Only the client's line is ever bad, both ways. What the two tell each other passes through both lines, by the server or not.

import { execFile, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { ROOT } from '../server.mjs';
import { until } from '../patience.mjs';

const run = promisify(execFile);
const WIRE = process.env.WIRE_BINARY ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, 'target'), 'debug/wire');

/** @typedef {'client' | 'companion' | 'server'} Place */
/** What the wire calls `Terms`. @typedef {Partial<Record<'loss' | 'burst' | 'mend' | 'burst_loss' | 'delay' | 'jitter' | 'reorder' | 'late' | 'rate' | 'queue', number>>} Terms */

/** Ports the NAT gives out, by how often it forgot. */
const PORTS = ['30000-30999', '40000-40999', '50000-50999'];
/** Milliseconds one way of a line that has nothing wrong: somebody in the same country. */
const DELAY = 5;

export class Lab {
  #ends;
  /** The wire. @type {import('node:child_process').ChildProcessWithoutNullStreams | null} */
  #child = null;
  /** What the wire said and nobody waited for yet. @type {string[]} */
  #said = [];
  #complaints = '';
  #rebound = 0;

  /**
   * @param {4 | 6} family
   * @param {boolean} nat
   */
  constructor(family, nat) {
    this.family = family;
    this.nat = nat;
    this.#ends = [
      `tests=-,lab0,${this.address('tests')}`,
      `client=${nat ? 'router' : 'client'},eth0,${this.address('client')}`,
      `companion=companion,eth0,${this.address('companion')}`,
      `server=server,eth0,${this.address('server')}`,
    ];
  }

  /**
   * Builds it, with clear lines.
   * @param {{ family?: 4 | 6, nat?: boolean }} [options] one family of addresses; `nat`: the client sits behind a router
   */
  static async start({ family = 4, nat = false } = {}) {
    const lab = new Lab(family, nat);
    try {
      await lab.#build();
    } catch (error) {
      await lab.stop();
      throw error;
    }
    return lab;
  }

  /**
   * The address of an end; of the ranges for measuring networks (RFC 2544, RFC 5180), which nobody else has.
   * @param {Place | 'tests'} end
   */
  address(end) {
    const number = ['tests', 'client', 'companion', 'server'].indexOf(end) + 1;
    return this.family === 4 ? `198.18.${number}.2` : `2001:2:0:${number}::2`;
  }

  async #build() {
    const places = ['client', 'companion', 'server', ...(this.nat ? ['router'] : [])];
    for (const place of places) {
      await run('ip', ['netns', 'add', place]);
      await run('ip', ['-n', place, 'link', 'set', 'lo', 'up']);
    }
    const child = spawn(WIRE, this.#ends, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    child.on('error', (error) => (this.#complaints += error.message));
    child.stderr.on('data', (text) => (this.#complaints += text));
    createInterface(child.stdout).on('line', (line) => this.#said.push(line));
    await this.#hear(/^ready$/);

    /** @type {(netns: string | null, device: string, address: string) => Promise<void>} */
    const connect = async (netns, device, address) => {
      const where = netns === null ? [] : ['-n', netns];
      const [whole, family] = this.family === 4 ? ['/32', []] : ['/128', ['nodad']];
      await run('ip', [...where, 'addr', 'add', address + whole, 'dev', device, ...family]);
      await run('ip', [...where, 'link', 'set', device, 'up']);
      await run('ip', [...where, `-${this.family}`, 'route', 'add', 'default', 'dev', device]);
    };
    await connect(null, 'lab0', this.address('tests'));
    await connect('companion', 'eth0', this.address('companion'));
    await connect('server', 'eth0', this.address('server'));
    await connect(this.nat ? 'router' : 'client', 'eth0', this.address('client'));
    if (this.nat) {
      await run('ip', ['link', 'add', 'name', 'home0', 'netns', 'router', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'client']);
      // No link-local addresses: one that comes up a second later makes a browser drop what it is loading (ERR_NETWORK_CHANGED).
      await run('ip', ['-n', 'router', 'link', 'set', 'home0', 'addrgenmode', 'none']);
      await run('ip', ['-n', 'client', 'link', 'set', 'eth0', 'addrgenmode', 'none']);
      await run('ip', ['-n', 'router', 'addr', 'add', '192.168.7.1/24', 'dev', 'home0']);
      await run('ip', ['-n', 'client', 'addr', 'add', '192.168.7.2/24', 'dev', 'eth0']);
      await run('ip', ['-n', 'router', 'link', 'set', 'home0', 'up']);
      await run('ip', ['-n', 'client', 'link', 'set', 'eth0', 'up']);
      await run('ip', ['-n', 'client', 'route', 'add', 'default', 'via', '192.168.7.1']);
      await run('ip', ['netns', 'exec', 'router', 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
      await this.#translate();
    }
    await this.line({});
    await this.#order('companion', { delay: DELAY });
  }

  async #translate() {
    const rules = `
      table ip nat
      delete table ip nat
      table ip nat {
        chain out {
          type nat hook postrouting priority srcnat
          oifname "eth0" meta l4proto udp masquerade to :${PORTS[this.#rebound]}
          oifname "eth0" masquerade
        }
      }`;
    const nft = run('ip', ['netns', 'exec', 'router', 'nft', '-f', '-']);
    nft.child.stdin?.end(rules);
    await nft;
  }

  /** The router forgets what it knew of UDP, and gives new ports out. */
  async rebind() {
    this.#rebound += 1;
    await this.#translate();
    await run('ip', ['netns', 'exec', 'router', 'conntrack', '-D', '-p', 'udp']);
  }

  /** The ports by which the router sends the client's UDP on to the server or to the companion now. */
  async outerPorts() {
    const { stdout } = await run('ip', ['netns', 'exec', 'router', 'conntrack', '-L', '-p', 'udp']);
    // The second half of a line is what comes back: to the outer port. Others are of packets that came for a port that is forgotten.
    const ports = stdout.split('\n').map((line) => /src=192\.168\.7\.2 .*dport=\d+.*dport=(\d+)/.exec(line)?.[1]);
    return ports.flatMap((port) => (port ? [Number(port)] : []));
  }

  /** Whether a port is one that was given out since the last time it forgot. @param {number} port */
  isFresh(port) {
    const [low = 0, high = 0] = (PORTS[this.#rebound] ?? '').split('-').map(Number);
    return port >= low && port <= high;
  }

  /**
   * Makes the client's line so, both ways.
   * @param {Terms} terms what is left out is as on a clear line
   */
  async line(terms) {
    await this.#order('client', { delay: DELAY, ...terms });
  }

  /** @param {string} end @param {Terms} terms */
  async #order(end, terms) {
    const words = [end, ...Object.entries(terms).map(([key, value]) => `${key}=${value}`)];
    this.#child?.stdin.write(`${words.join(' ')}\n`);
    await this.#hear(new RegExp(`^set ${end} `));
  }

  /** What each line carried and lost so far, in the wire's words. */
  async counts() {
    this.#child?.stdin.write('?\n');
    return this.#hear(/homeless/);
  }

  /** @param {RegExp} line */
  #hear(line) {
    return until(`the wire says ${line}`, () => {
      const child = this.#child;
      if (!child || child.exitCode !== null || this.#complaints) throw new Error(`the wire failed: ${this.#complaints}`);
      const at = this.#said.findIndex((said) => line.test(said));
      return at < 0 ? null : this.#said.splice(at, 1)[0];
    }, { everyMs: 20, limitMs: 10_000 });
  }

  /** Takes it down; devices go with the wire and with their namespaces. */
  async stop() {
    const child = this.#child;
    if (child && child.exitCode === null && child.pid) {
      const ended = new Promise((done) => child.once('exit', done));
      child.stdin.end();
      const overdue = setTimeout(() => child.kill('SIGKILL'), 5_000);
      await ended;
      clearTimeout(overdue);
    }
    for (const place of ['client', 'companion', 'server', 'router']) await run('ip', ['netns', 'del', place]).catch(() => null); // not made
  }
}

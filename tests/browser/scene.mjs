// A scene: a server, browsers and people, cleaned up in the end whatever happens. A scene that fails tells what the
// server logged and what the pages' consoles said.
//
// A scene is written once and played by pairings: which browser the client has, and which the companion. PAIRS=all plays each scene in
// every pairing it can be played in, PAIRS=firefox/chromium (client/companion, several with commas) in these; without it a scene says
// itself whether it is worth all of them. The scenes of a file share their browsers and come as new persons.

import test, { after } from 'node:test';
import { Browser } from './browser.mjs';
import { ClientPage, CompanionPage } from './pages.mjs';
import { Demo, Server } from './server.mjs';

/** Browsers start in 2 s on a quiet machine and in 40 s on a crowded one. */
const TIMEOUT_MS = 300_000;

/** The pitch of each party's voice. */
export const CLIENT_HZ = 440;
export const COMPANION_HZ = 1000;

const HZ = { client: CLIENT_HZ, companion: COMPANION_HZ };

/** @typedef {import('./browser.mjs').Kind} Kind */
/** @typedef {{ client: Kind, companion: Kind }} Pair */

const KINDS = /** @type {const} */ (['chromium', 'firefox']);
const PAIRS = KINDS.flatMap((client) => KINDS.map((companion) => ({ client, companion })));

/** What is played without PAIRS. @type {Pair} */
const USUAL = { client: 'chromium', companion: 'chromium' };

/** @param {Pair} pair */
const named = ({ client, companion }) => `${client}/${companion}`;

/** The browsers of this file that run, by what they can do. @type {Map<string, Promise<Browser>>} */
const running = new Map();
after(() => retire([...running.keys()]));

/**
 * A browser that is started when it is first wanted.
 * @param {Kind} kind
 * @param {import('./browser.mjs').Voice} voice
 */
function borrow(kind, voice) {
  const key = JSON.stringify([kind, voice]);
  const browser = running.get(key) ?? Browser.start(kind, voice);
  running.set(key, browser);
  return { key, browser };
}

/**
 * Ends browsers, so that the next scene gets new ones.
 * @param {Iterable<string>} keys
 */
async function retire(keys) {
  for (const key of keys) {
    const browser = running.get(key);
    running.delete(key);
    await browser?.then((browser) => browser.close()).catch((error) => console.error(error));
  }
}

export class Scene {
  /** @type {(() => Promise<unknown>)[]} */
  #endings = [];
  /** @type {import('./browser.mjs').Tab[]} */
  #tabs = [];
  /** @type {Set<string>} */
  #borrowed = new Set();

  /**
   * @param {string} name
   * @param {Pair} [pair]
   */
  constructor(name, pair = USUAL) {
    this.name = name;
    this.pair = pair;
  }

  /** @param {Parameters<typeof Server.start>[1]} [options] */
  async server(options) {
    const server = await Server.start(this.name, options);
    this.#endings.push(() => server.stop());
    this.log = () => server.log();
    return server;
  }

  /**
   * `lull demo --bot`
   * @param {Parameters<typeof Demo.start>[1]} [options]
   */
  async demo(options) {
    const demo = await Demo.start(this.name, options);
    this.#endings.push(() => demo.stop());
    this.log = () => demo.log();
    return demo;
  }

  /**
   * A browser for one person, with her own storage and cookies: what this pairing has for client or companion. Persons of one voice
   * share the process; whoever lives in a place of her own (Chromium only) has one to herself.
   * @param {{ who?: 'client' | 'companion', kind?: Kind } & import('./browser.mjs').Voice & import('./browser.mjs').Place} [options]
   */
  async browser({ who = 'client', kind = this.pair[who], hz = HZ[who], within, secure, camera, observe, args, ...voice } = {}) {
    if (args && kind !== 'chromium') throw new Error('only Chromium is begun with switches: say `flags` of the scene');
    if (within || args) {
      const browser = await Browser.chromium({ hz, args, within, secure, camera, observe, ...voice });
      this.#endings.push(() => browser.close());
      return browser;
    }
    const { key, browser } = borrow(kind, { hz, ...voice });
    this.#borrowed.add(key);
    const person = await (await browser).person();
    this.#endings.push(() => person.close());
    return person;
  }

  /** @param {() => Promise<unknown>} ending what else is to be done in the end */
  atEnd(ending) {
    this.#endings.push(ending);
  }

  /**
   * A tab whose console is told when the scene fails.
   * @param {Browser} browser
   * @param {string} name
   */
  async tab(browser, name) {
    const tab = await browser.tab(name);
    this.#tabs.push(tab);
    return tab;
  }

  /**
   * Client and companion at the pages of a call, each in a browser process of its own, not joined yet.
   * @param {{ client: { url: string }, companion: { url: string } }} call
   * @param {{ args?: string[], prepare?: (tab: import('./browser.mjs').Tab) => Promise<void> }} [how] `args`: of both Chromiums;
   *   `prepare`: what is done to each tab before it is opened
   */
  async parties(call, { args, prepare = async () => {} } = {}) {
    const clients = await this.browser({ args });
    const companions = await this.browser({ who: 'companion', args });
    const client = new ClientPage(await this.tab(clients, 'client'));
    const companion = new CompanionPage(await this.tab(companions, 'companion'));
    await prepare(client.tab);
    await prepare(companion.tab);
    await client.open(call.client.url);
    await companion.open(call.companion.url);
    return { client, companion, clients, companions };
  }

  /**
   * The same, joined and live.
   * @param {Parameters<Scene['parties']>[0]} call
   * @param {Parameters<Scene['parties']>[1]} [how]
   */
  async live(call, how) {
    const parties = await this.parties(call, how);
    await parties.client.join();
    await parties.companion.accept();
    await parties.client.tab.body('state', 'live');
    await parties.companion.tab.body('state', 'live');
    return parties;
  }

  /** Ends in reverse order; the first trouble is thrown when all is ended. */
  async end() {
    /** @type {unknown} */
    let trouble;
    for (const ending of this.#endings.reverse()) await ending().catch((error) => (trouble ??= error));
    if (trouble) throw trouble;
  }

  /** After a failure nobody knows what state a browser is in. */
  retireBrowsers() {
    return retire(this.#borrowed);
  }

  report() {
    for (const tab of this.#tabs) console.error(`--- console of ${tab.name}\n${tab.console.join('\n')}`);
    console.error(`--- the server's log, its last lines\n${this.log?.().split('\n').slice(-80).join('\n') ?? 'none'}`);
  }

  /** @type {(() => string) | undefined} */
  log;
}

/**
 * @typedef How
 * @property {boolean} [everywhere] in every pairing even without PAIRS
 * @property {boolean} [alone] one kind of browser is enough to play it
 * @property {boolean} [speaks] what the client says has to be taken for speech, as Chromium's syllables are, and Firefox's one steady tone is by chance only
 * @property {boolean} [flags] it is begun with switches that only Chromium has
 */

/**
 * The pairings a scene is played in.
 * @param {How} how
 */
function pairs({ everywhere = false, alone = false, speaks = false, flags = false }) {
  const able = PAIRS.filter(
    ({ client, companion }) =>
      (!alone || client === companion) && (!speaks || client === 'chromium') && (!flags || (client === 'chromium' && companion === 'chromium')),
  );
  const wish = process.env.PAIRS || (everywhere ? 'all' : named(USUAL));
  if (wish === 'all') return able;
  const unknown = wish.split(',').find((name) => !PAIRS.some((pair) => named(pair) === name));
  if (unknown !== undefined) throw new Error(`PAIRS: "${unknown}" is none of all, ${PAIRS.map(named).join(', ')}`);
  return able.filter((pair) => wish.split(',').includes(named(pair)));
}

/**
 * A test that plays a scene, once for each pairing.
 * @param {string} name
 * @param {(scene: Scene) => Promise<void>} play
 * @param {How} [how]
 */
export function scene(name, play, how = {}) {
  for (const pair of pairs(how)) {
    const title = `${name} [${how.alone ? pair.client : named(pair)}]`;
    test(title, { timeout: TIMEOUT_MS }, async () => {
      const scene = new Scene(title, pair);
      try {
        await play(scene);
      } catch (error) {
        scene.report();
        await scene.end().catch((also) => console.error(also));
        await scene.retireBrowsers();
        throw error;
      }
      await scene.end();
    });
  }
}

// A scene: a server, browsers and people, cleaned up in the end whatever happens. A scene that fails tells what the
// server logged and what the pages' consoles said.

import test from 'node:test';
import { Browser } from './browser.mjs';
import { ClientPage, CompanionPage } from './pages.mjs';
import { Demo, Server } from './server.mjs';

/** Browsers start in 2 s on a quiet machine and in 40 s on a crowded one. */
const TIMEOUT_MS = 300_000;

/** The pitch of each party's voice. */
export const CLIENT_HZ = 440;
export const COMPANION_HZ = 1000;

export class Scene {
  /** @type {(() => Promise<unknown>)[]} */
  #endings = [];
  /** @type {import('./browser.mjs').Tab[]} */
  #tabs = [];

  /** @param {string} name */
  constructor(name) {
    this.name = name;
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
   * A browser of its own for one person.
   * @param {import('./browser.mjs').ChromiumOptions & { kind?: 'chromium' | 'firefox' }} [options] all but the kind for Chromium only
   */
  async browser({ kind = 'chromium', ...options } = {}) {
    const browser = kind === 'firefox' ? await Browser.firefox() : await Browser.chromium({ hz: CLIENT_HZ, ...options });
    this.#endings.push(() => browser.close());
    return browser;
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
   * @param {{ companion?: 'chromium' | 'firefox', args?: string[], prepare?: (tab: import('./browser.mjs').Tab) => Promise<void> }} [kinds]
   *   `args`: of both Chromiums; `prepare`: what is done to each tab before it is opened
   */
  async parties(call, { companion: kind = 'chromium', args = [], prepare = async () => {} } = {}) {
    const clients = await this.browser({ hz: CLIENT_HZ, args });
    const companions = await this.browser({ hz: COMPANION_HZ, kind, args });
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
   * @param {Parameters<Scene['parties']>[1]} [kinds]
   */
  async live(call, kinds) {
    const parties = await this.parties(call, kinds);
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

  report() {
    for (const tab of this.#tabs) console.error(`--- console of ${tab.name}\n${tab.console.join('\n')}`);
    console.error(`--- the server's log, its last lines\n${this.log?.().split('\n').slice(-80).join('\n') ?? 'none'}`);
  }

  /** @type {(() => string) | undefined} */
  log;
}

/**
 * A test that plays a scene.
 * @param {string} name
 * @param {(scene: Scene) => Promise<void>} play
 */
export function scene(name, play) {
  test(name, { timeout: TIMEOUT_MS }, async () => {
    const scene = new Scene(name);
    try {
      await play(scene);
    } catch (error) {
      scene.report();
      await scene.end().catch((also) => console.error(also));
      throw error;
    }
    await scene.end();
  });
}

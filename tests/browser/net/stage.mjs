// Everything that a network is tried with: the lab, a server, two browsers, and the two ways in which they talk.

import { ClientPage, CompanionPage } from '../pages.mjs';
import { CLIENT_HZ, COMPANION_HZ } from '../scene.mjs';
import { hears } from '../sound.mjs';
import { connect } from './direct.mjs';
import { observe, sample } from './figures.mjs';
import { Lab } from './lab.mjs';

/** Small enough for two software encoders and decoders beside each other on a small machine, with the grain of a real camera. */
const CAMERA = { fps: 15, grain: 6 };

/** @typedef {import('../browser.mjs').Tab} Tab */
/** @typedef {{ client: Tab, companion: Tab, end(): Promise<void> }} Talk what is talked in */

export class Stage {
  /**
   * @param {import('../scene.mjs').Scene} scene
   * @param {import('./lines.mjs').Network} network
   * @param {Lab} lab
   * @param {import('../server.mjs').Server} server
   * @param {import('../browser.mjs').Browser} clients
   * @param {import('../browser.mjs').Browser} companions
   */
  constructor(scene, network, lab, server, clients, companions) {
    this.scene = scene;
    this.network = network;
    this.lab = lab;
    this.server = server;
    this.clients = clients;
    this.companions = companions;
  }

  /**
   * Sets it up, with clear lines still.
   * @param {import('../scene.mjs').Scene} scene ends it
   * @param {import('./lines.mjs').Network} network
   */
  static async set(scene, network) {
    const lab = await Lab.start(network);
    scene.atEnd(() => lab.stop());
    const server = await scene.server({ at: { address: lab.address('server'), within: 'server' } });
    const secure = server.url;
    const clients = await scene.browser({ hz: CLIENT_HZ, within: 'client', secure, camera: CAMERA, observe });
    const companions = await scene.browser({ hz: COMPANION_HZ, within: 'companion', secure, camera: CAMERA, observe });
    return new Stage(scene, network, lab, server, clients, companions);
  }

  /**
   * A call of lull: pages opened on clear lines, joined on those of the network.
   * @param {() => Promise<unknown>} [between] after the client has joined, before the companion does
   */
  async call(between = async () => null) {
    await this.lab.line({});
    const call = await this.server.sell({ media: 'video' });
    const client = new ClientPage(await this.scene.tab(this.clients, 'client'));
    const companion = new CompanionPage(await this.scene.tab(this.companions, 'companion'));
    await client.open(call.client.url);
    await companion.open(call.companion.url);
    await this.lab.line(this.network.terms);
    await client.join();
    await between();
    await companion.accept();
    await Promise.all([client, companion].map(({ tab }) => tab.body('state', 'live', { limitMs: 60_000 })));
    const end = async () => {
      await this.lab.line({});
      await client.hangUp();
      await this.server.receipt(call.id);
      await client.tab.close();
      await companion.tab.close();
    };
    return { client: client.tab, companion: companion.tab, end, id: call.id };
  }

  /** The same browsers without lull. @returns {Promise<Talk>} */
  async direct() {
    const client = await this.scene.tab(this.clients, 'client, direct');
    const companion = await this.scene.tab(this.companions, 'companion, direct');
    await this.lab.line(this.network.terms);
    await connect(client, companion);
    const end = async () => {
      await client.close();
      await companion.close();
    };
    return { client, companion, end };
  }

  /**
   * Waits until each hears the other, and not herself.
   * @param {Talk} talk
   * @param {{ times?: number, limitMs?: number }} [patience]
   */
  async heard({ client, companion }, patience) {
    await Promise.all([
      hears(client, { hears: COMPANION_HZ, notHears: CLIENT_HZ, ...patience }),
      hears(companion, { hears: CLIENT_HZ, notHears: COMPANION_HZ, ...patience }),
    ]);
  }
}

/**
 * Samples both pages each second.
 * @param {Talk} talk
 * @param {number} seconds
 * @param {(second: number) => Promise<unknown>} [each] done at each second
 * @returns {Promise<Record<'client' | 'companion', import('./figures.mjs').Sample[]>>}
 */
export async function watch({ client, companion }, seconds, each = async () => null) {
  /** @type {Awaited<ReturnType<typeof watch>>} */
  const seen = { client: [], companion: [] };
  const begin = performance.now();
  for (let second = 0; second <= seconds; second += 1) {
    await new Promise((done) => setTimeout(done, begin + second * 1000 - performance.now()));
    const [one, other] = await Promise.all([sample(client), sample(companion), each(second)]);
    seen.client.push(one);
    seen.companion.push(other);
  }
  return seen;
}

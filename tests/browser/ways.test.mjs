// By which way sound reaches a page, and how it is back when that way is gone.

import assert from 'node:assert/strict';
import { Nat } from './nat.mjs';
import { until } from './patience.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { hears } from './sound.mjs';

/** Sound is back within this when the page was told that its network changed, or notices it. */
const BACK_WITHIN_MS = 3000;
/** Nobody tells a page of a new binding: the server follows the next check of the browser, at most 2.5 s later. */
const NAT_WITHIN_MS = 5000;

/** @typedef {import('./browser.mjs').Tab} Tab */

/**
 * Lets the test ask for what the page's connection counts. Before the page is opened.
 * @param {Tab} tab
 */
async function listen(tab) {
  await tab.before(() => {
    const Native = globalThis.RTCPeerConnection;
    const keeper = /** @type {{ peers: RTCPeerConnection[] }} */ (/** @type {unknown} */ (globalThis));
    keeper.peers = [];
    globalThis.RTCPeerConnection = class extends Native {
      /** @param {RTCConfiguration} [configuration] */
      constructor(configuration) {
        super(configuration);
        keeper.peers.push(this);
      }
    };
  });
}

/**
 * The pair of addresses that is used, and the packets of sound it brought so far.
 * @param {Tab} tab
 * @returns {Promise<{ protocol: string, remote: string, port: number, packets: number, peers: number } | null>}
 */
function way(tab) {
  return tab.evaluate(async () => {
    const { peers } = /** @type {{ peers: RTCPeerConnection[] }} */ (/** @type {unknown} */ (globalThis));
    const stats = await peers.at(-1)?.getStats();
    if (!stats) return null;
    const all = [...stats.values()];
    const transport = all.find(({ type }) => type === 'transport');
    // Firefox has no transport in them, and marks the pair.
    const pair = transport ? stats.get(transport.selectedCandidatePairId) : all.find(({ type, selected }) => type === 'candidate-pair' && selected);
    const [local, remote] = [stats.get(pair?.localCandidateId), stats.get(pair?.remoteCandidateId)];
    const packets = all.filter(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio').reduce((sum, one) => sum + one.packetsReceived, 0);
    return local && remote ? { protocol: local.protocol, remote: remote.protocol, port: local.port, packets, peers: peers.length } : null;
  });
}

/**
 * For how long no sound came through the NAT after it did something.
 * @param {Nat} nat
 * @param {string} what
 */
async function silence(nat, what) {
  const lasted = await until(`sound is back after ${what}`, () => nat.silence(), { everyMs: 25 });
  console.log(`${what}: nothing for ${Math.round(lasted)} ms`);
  return lasted;
}

/**
 * Lets the page see of the server's addresses those for TCP alone, which no switch of Firefox does. Before the page is opened.
 * @param {Tab} tab
 */
async function offerTcpAlone(tab) {
  await tab.before(() => {
    const { prototype } = RTCPeerConnection;
    const set = prototype.setRemoteDescription;
    prototype.setRemoteDescription = function (description) {
      const sdp = (description.sdp ?? '').replace(/a=candidate:\S+ \d+ udp [^\n]*\n/gi, '');
      return Reflect.apply(set, this, [{ type: description.type, sdp }]);
    };
  });
}

/**
 * Both hear and see each other, over TCP.
 * @param {{ client: import('./pages.mjs').ClientPage, companion: import('./pages.mjs').CompanionPage }} parties
 */
async function talkOverTcp({ client, companion }) {
  await Promise.all([
    hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ }),
    hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ }),
    client.seesPicture(),
    companion.seesPicture(),
  ]);
  for (const { tab } of [client, companion]) {
    const used = await way(tab);
    assert.deepEqual([used?.protocol, used?.remote], ['tcp', 'tcp'], tab.name);
  }
}

scene('two browsers whose networks block UDP talk over TCP', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'video' });
  // What a company's policy sets; the old and the new name of the switch.
  const policy = 'disable_non_proxied_udp';
  const args = [`--force-webrtc-ip-handling-policy=${policy}`, `--webrtc-ip-handling-policy=${policy}`];
  await talkOverTcp(await scene.live(call, { args, prepare: listen }));
}, { flags: true });

scene('two browsers that know of no other way talk over TCP', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'video' });
  const prepare = async (/** @type {Tab} */ tab) => {
    await offerTcpAlone(tab);
    await listen(tab);
  };
  await talkOverTcp(await scene.live(call, { prepare }));
}, { everywhere: true, alone: true });

scene('a browser that may use UDP does', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client } = await scene.live(call, { prepare: listen });
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  assert.equal((await way(client.tab))?.protocol, 'udp');
});

scene('a page whose network goes away has its sound back within three seconds', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const nat = await Nat.before(server.ports.udp);
  scene.atEnd(async () => nat.close());
  const { client, companion } = await scene.live(call, {
    prepare: async (tab) => {
      await listen(tab);
      if (tab.name === 'client') await nat.lead(tab);
    },
  });
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  const first = await way(client.tab);

  // Nobody says a word: the page has to notice, and its socket is as dead as its leg.
  nat.cut();
  const noticed = await silence(nat, 'a network that went dead');
  assert.ok(noticed < BACK_WITHIN_MS, `nothing for ${Math.round(noticed)} ms`);
  const second = await way(client.tab);
  assert.notEqual(second?.port, first?.port, 'another way');
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });

  // A browser that is told by its system tells the page.
  nat.cut();
  await client.tab.evaluate(() => {
    const { connection } = /** @type {any} */ (navigator);
    Object.defineProperty(connection, 'type', { value: 'cellular' });
    connection.dispatchEvent(new Event('change'));
  });
  const told = await silence(nat, 'a change that was told');
  assert.ok(told < BACK_WITHIN_MS, `nothing for ${Math.round(told)} ms`);
  assert.equal((await way(client.tab))?.peers, 1, 'the leg is the same');

  // The port outside is another one, and neither the page nor the browser knows.
  nat.forget();
  const rebound = await silence(nat, 'another binding');
  assert.ok(rebound < NAT_WITHIN_MS, `nothing for ${Math.round(rebound)} ms`);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  assert.equal((await server.call(call.id)).state, 'live');
});

// Calls over bad networks, as part of the whole test: that they go on, that each hears the other, that the bill is right. How well
// they go on, beside a direct connection, is measured by table.mjs. Runs below enter.sh (`make net-test`).

import assert from 'node:assert/strict';
import { until } from '../patience.mjs';
import { scene } from '../scene.mjs';
import { sample } from './figures.mjs';
import { network } from './lines.mjs';
import { Stage } from './stage.mjs';

/** How far clocks of test and server may be apart in what they count. */
const APART_MS = 1000;

/**
 * Plays a call on a network and looks at its bill.
 * @param {import('../scene.mjs').Scene} scene
 * @param {string} name of the network
 * @param {(stage: Stage, talk: Awaited<ReturnType<Stage['call']>>) => Promise<void>} play
 */
async function billed(scene, name, play) {
  const stage = await Stage.set(scene, network(name));
  const before = performance.now();
  const talk = await stage.call();
  await stage.heard(talk);
  await play(stage, talk);
  const { state, blocks } = await stage.server.call(talk.id);
  assert.deepEqual({ state, blocks }, { state: 'live', blocks: 1 });
  await talk.end();
  const receipt = await stage.server.receipt(talk.id);
  assert.deepEqual([receipt.end_reason, receipt.charge.amount, receipt.refund.amount], ['client_left', 2000, 0]);
  const most = performance.now() - before + APART_MS;
  assert.ok(receipt.delivered_ms > 0 && receipt.delivered_ms <= most, `${receipt.delivered_ms} ms delivered in ${most}`);
}

/** Waits until a page has decoded so many frames more. @param {import('../browser.mjs').Tab} tab @param {number} count */
async function seesMore(tab, count) {
  const first = (await sample(tab)).video.framesDecoded ?? 0;
  await until(`${tab.name} sees ${count} more frames`, async () => ((await sample(tab)).video.framesDecoded ?? 0) >= first + count);
}

scene('with one packet of twenty lost, both are heard and seen, and the picture finds its bandwidth', async (scene) => {
  await billed(scene, 'loss-5', async (stage, talk) => {
    const both = [talk.client, talk.companion];
    await Promise.all(both.map((tab) => seesMore(tab, 30)));
    await until('packets of both were lost, and asked for again', async () => {
      const samples = await Promise.all(both.map(sample));
      return samples.every(({ video, resent }) => (video.nackCount ?? 0) > 0 && resent > 0);
    });
    for (const tab of both) {
      await until(`${tab.name}: the cap of the picture's beginning is lifted`, () =>
        tab.evaluate(() => {
          const { connection } = /** @type {import('./direct.mjs').Connected} */ (/** @type {unknown} */ (globalThis));
          const sender = connection().getSenders().find(({ track }) => track?.kind === 'video');
          return sender?.getParameters().encodings.every((encoding) => encoding.maxBitrate === undefined && encoding.scaleResolutionDownBy === 1);
        }),
      );
    }
    await stage.heard(talk);
  });
});

scene('when a router forgets the client, the call goes on from her new port', async (scene) => {
  await billed(scene, 'nat', async (stage, talk) => {
    const before = await stage.lab.outerPorts();
    await stage.lab.rebind();
    await until('her packets leave by new ports', async () => {
      const ports = await stage.lab.outerPorts();
      return ports.length > 0 && ports.every((port) => stage.lab.isFresh(port) && !before.includes(port));
    });
    // The first that arrive may have been under way before.
    await stage.heard(talk, { times: 10 });
    await Promise.all([seesMore(talk.client, 15), seesMore(talk.companion, 15)]);
  });
});

scene('where there is only IPv6, a call is like any other', async (scene) => {
  await billed(scene, 'ipv6', async (stage, talk) => {
    for (const [tab, own] of /** @type {const} */ ([
      [talk.client, stage.lab.address('client')],
      [talk.companion, stage.lab.address('companion')],
    ])) {
      const { path } = await sample(tab);
      assert.ok(path.includes(own) && path.includes(stage.lab.address('server')), `${tab.name} speaks by ${path}`);
      await seesMore(tab, 15);
    }
  });
});

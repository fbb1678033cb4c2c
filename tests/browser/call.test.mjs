// The main job: two people in two browser processes, each with a voice of its own, from their links to a receipt.

import assert from 'node:assert/strict';
import { money } from './pages.mjs';
import { until } from './patience.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { hears } from './sound.mjs';

/** The clock of a page shows whole seconds, rounded up. */
const ROUNDED_MS = 1000;
/** How far page and server may be apart. */
const APART_MS = 1000;

/**
 * The countdown moves and agrees with the server, on several looks.
 * @param {import('./server.mjs').Server} server
 * @param {string} id
 * @param {import('./pages.mjs').ClientPage | import('./pages.mjs').CompanionPage} page
 */
async function countdownAgrees(server, id, page) {
  /** @type {Set<number>} */
  const seen = new Set();
  await until(`${page.tab.name}: the countdown runs`, async () => {
    const shown = await page.countdown();
    const { remaining_ms, running } = await server.call(id);
    const before = await page.countdown();
    assert.ok(running, 'the meter runs');
    // The server was asked between two looks at the page: it must lie between them, give or take.
    assert.ok(remaining_ms <= shown * 1000 + APART_MS, `the page shows ${shown} s and the server says ${remaining_ms} ms`);
    assert.ok(remaining_ms >= before * 1000 - ROUNDED_MS - APART_MS, `the page shows ${before} s and the server says ${remaining_ms} ms`);
    seen.add(shown);
    return seen.size >= 3;
  });
}

scene('two browsers talk until the paid 20 seconds are over, and the bill is one block', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ block_s: 20, price: 2000, media: 'video' });
  const { client, companion } = await scene.live(call);

  await Promise.all([
    hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ }),
    hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ }),
    client.seesPicture(),
    companion.seesPicture(),
  ]);
  await countdownAgrees(server, call.id, client);

  await client.end();
  await companion.end();
  const { charge, refund } = await client.bill();
  assert.deepEqual({ charge, refund }, { charge: 2000, refund: 0 });
  assert.equal(await companion.earned(), 1400, 'her share of 7000 basis points');

  const receipt = await server.receipt(call.id);
  assert.deepEqual([receipt.charge, receipt.refund], [{ amount: 2000, currency: 'CNY' }, { amount: 0, currency: 'CNY' }]);
  assert.equal(receipt.end_reason, 'time_expired');
  const settled = await server.call(call.id);
  assert.equal(settled.state, 'settled');
  // Delivered time is cut at the due moment; the end may take 250 ms longer to be carried out.
  assert.ok(settled.delivered_ms >= 19_000 && settled.delivered_ms <= 20_000, `${settled.delivered_ms} ms delivered of 20 s`);

  await client.tab.open('about:blank');
  await client.tab.open(call.client.url);
  await client.end(); // no way back in: the link shows the receipt
}, { everywhere: true });

scene('an extension in the middle lengthens the call and doubles the charge', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ block_s: 20, price: 2000, credit: 5000, media: 'audio' });
  const { client, companion } = await scene.live(call);
  assert.equal(money(await client.balance()), 3000, 'what is left after the first block');

  const before = await client.countdown();
  await client.extend();
  await until('both pages count from the longer time', async () => {
    const [mine, hers] = [await client.countdown(), await companion.countdown()];
    return mine > before && hers > 20 && Math.abs(mine - hers) <= 1;
  });
  assert.equal(money(await client.balance()), 1000);
  assert.deepEqual((({ blocks, paid_s }) => ({ blocks, paid_s }))(await server.call(call.id)), { blocks: 2, paid_s: 40 });
  await countdownAgrees(server, call.id, companion);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });

  await until('the call ended', () => client.tab.text('#end-reason'), { limitMs: 60_000 });
  assert.equal((await client.bill()).charge, 4000);
  const receipt = await server.receipt(call.id);
  assert.equal(receipt.charge.amount, 4000);
  assert.equal(receipt.end_reason, 'time_expired');
  assert.ok(receipt.delivered_ms > 38_000 && receipt.delivered_ms <= 40_000, `${receipt.delivered_ms} ms delivered of 40 s`);
  assert.deepEqual(receipt.extensions.map(({ by, kind, added_s }) => ({ by, kind, added_s })), [{ by: 'client', kind: 'block', added_s: 20 }]);
});

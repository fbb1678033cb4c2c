// A recording from both yeses to its deletion, with a real server and real voices.

import assert from 'node:assert/strict';
import { look } from './look.mjs';
import { VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { scene } from './scene.mjs';

scene('what both let be recorded is there for the vendor, as sound of its length, until it is deleted', async (scene) => {
  const server = await scene.server({ settings: `[recording]\nkey = "${'5a'.repeat(32)}"\nkeep_free_mb = 1` });
  const sold = { kind: 'block', block_s: 900, price: { amount: 2000, currency: 'CNY' }, recording_days: 7 };
  const call = await server.sell({ sold, media: 'audio' });
  const { client, companion } = await scene.parties(call);
  assert.match(await client.tab.shown('#recording-text'), /kept for 7 days/);
  await client.tab.click('#recording-yes');
  await client.join();
  await companion.accept();
  await client.tab.body('state', 'live');
  assert.equal(await client.tab.text('#recording-notice'), null, 'one yes is not enough');
  await companion.tab.click('#recording-yes');
  for (const page of [client, companion]) await page.tab.shown('#recording-words', /being recorded/);
  const began = (await server.call(call.id)).delivered_ms;
  await until('some seconds are recorded', async () => (await server.call(call.id)).delivered_ms > began + 3000);
  await companion.tab.click('#recording-stop');
  for (const page of [client, companion]) await page.tab.shown('#recording-text', /companion stopped it/);
  await client.hangUp();
  await client.end();
  await server.receipt(call.id);

  const { tab, page } = await vendor(scene, server);
  await page.show('settled');
  await tab.click('[data-testid=settled-record]');
  assert.match(await tab.shown('[data-testid=record-recording]'), /client agreed.*companion agreed.*companion said no.*Part 1: recorded from .*The companion stopped it.*kept for 7 days/s);
  await look(tab, 'vendor-record-recording', { languages: ['en'] }); // an open dialog keeps the language button out of reach
  await tab.click('#view-close');
  await tab.click('[data-testid=settled-recordings]');
  await tab.shown('[data-testid=recording][data-state=kept] + [data-testid=recording][data-state=kept]', /The companion stopped it/);
  await look(tab, 'vendor-recordings', { languages: ['en'] }); // an open dialog keeps the language button out of reach
  const head = await tab.evaluate(async () => {
    const link = document.querySelector('[data-testid=recording-download]');
    const sound = link instanceof HTMLAnchorElement ? await (await fetch(link.href)).arrayBuffer() : new ArrayBuffer(0);
    return { riff: String.fromCharCode(...new Uint8Array(sound.slice(0, 4))), seconds: (sound.byteLength - 44) / 32_000 };
  });
  assert.equal(head.riff, 'RIFF');
  assert.ok(head.seconds > 2.5 && head.seconds < 30, `${head.seconds} s`);
  // What was deleted meanwhile is said, not downloaded.
  const { items: before } = await server.ask('GET', `/calls/${call.id}/recordings`);
  await server.ask('DELETE', `/recordings/${before[0].id}`);
  await tab.click('[data-testid=recording-download]');
  await tab.shown('[data-testid=recording-note]', /is deleted/);
  await tab.click('[data-testid=recording] + [data-testid=recording] [data-testid=recording-delete]');
  await tab.click('#confirm-yes');
  await tab.shown('[data-testid=recording][data-state=deleted] + [data-testid=recording][data-state=deleted]', /It was deleted/);
  const { items } = await server.ask('GET', `/calls/${call.id}/recordings`);
  assert.deepEqual(items.map((/** @type {any} */ one) => one.state).sort(), ['deleted', 'deleted']);
}, { alone: true });

/** The vendor's page, signed in. @param {import('./scene.mjs').Scene} scene @param {import('./server.mjs').Server} server */
async function vendor(scene, server) {
  const tab = await scene.tab(await scene.browser(), 'vendor');
  const page = new VendorPage(tab);
  await page.signIn(await server.loginLink());
  return { tab, page };
}

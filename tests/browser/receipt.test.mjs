// The receipt on a page of its own: opened from the call's link, read on a phone and on a desk, printed, and exported by the vendor.

import assert from 'node:assert/strict';
import path from 'node:path';
import { look, SHOTS } from './look.mjs';
import { VendorPage } from './pages.mjs';
import { scene } from './scene.mjs';

scene('a receipt is read and printed from its own page, and the vendor takes the month away as a file', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ block_s: 900, price: 2000, credit: 6000, media: 'audio', plan: '晚安 15 minutes', grade: 'gold', companion: 'Mei' });
  const { client, companion } = await scene.live(call);
  const early = await scene.tab(await scene.browser(), 'early');
  await early.open(call.client.url.replace('/client#', '/receipt#'));
  await early.body('screen', 'problem');
  assert.match(await early.shown('#problem-text'), /not settled yet/);
  await early.close();

  await client.tab.shown('#countdown', /^14:5[0-7]/); // less than a second is not charged
  await client.tab.click('#hang-up');
  await client.tab.click('#hang-up-yes');
  await client.bill();
  await companion.end();
  await client.tab.click('#receipt-page');
  await client.tab.body('screen', 'receipt');
  await client.tab.body('reader', 'client');
  assert.match(await client.tab.shown('[data-testid=receipt-charge]'), /20\.00/);
  assert.match(await client.tab.shown('[data-testid=receipt-refund]'), /0\.00/);
  assert.ok((await client.tab.shown('[data-testid=receipt-number]')).includes(call.id));
  const record = /** @type {{ hash: string, signature: string }} */ (await server.ask('GET', `/calls/${call.id}/record`));
  assert.equal(await client.tab.shown('[data-testid=receipt-hash]'), `SHA-256 ${record.hash}`);
  assert.match(record.signature, /^[\w-]{86}$/);
  await look(client.tab, 'receipt-client');
  await client.tab.onPaper();
  await client.tab.resize({ width: 794, height: 1123 }); // A4 at 96 dots an inch
  await client.tab.picture(path.join(SHOTS, 'receipt-client-print.png'));
  assert.equal(await client.tab.text('#print'), null, 'no buttons on paper');
  assert.equal(await client.tab.evaluate(() => getComputedStyle(document.body).color), 'rgb(0, 0, 0)');

  const hers = await scene.tab(await scene.browser(), 'hers');
  await hers.open(call.companion.url.replace('/companion#', '/receipt#'));
  await hers.body('reader', 'companion');
  assert.match(await hers.shown('[data-testid=receipt-earned]'), /14\.00/);
  for (const hidden of ['charge', 'refund', 'held', 'hash']) assert.equal(await hers.text(`[data-testid=receipt-${hidden}]`), null, hidden);
  await look(hers, 'receipt-companion');

  const vendor = new VendorPage(await scene.tab(await scene.browser(), 'vendor'));
  await vendor.signIn(await server.loginLink());
  await vendor.show('settled');
  await vendor.tab.click('#export > summary');
  for (const [format, fits] of /** @type {const} */ ([['csv', /^call_id,settled_at,/], ['jsonl', /^\{"accepted_at":/]])) {
    const file = await vendor.tab.evaluate(async (id) => {
      const link = document.querySelector(id);
      return link instanceof HTMLAnchorElement ? (await fetch(link.href)).text() : '';
    }, `#export-${format}`);
    assert.match(file, fits);
    assert.ok(file.includes(call.id), file);
  }
  await look(vendor.tab, 'vendor-export');
}, { alone: true });

// Calls that are not sold in blocks, from the vendor's form to the bill.

import assert from 'node:assert/strict';
import { ClientPage, CompanionPage, VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { scene } from './scene.mjs';

scene('a call by the minute shows what it costs, is topped up, and is billed by the second', async (scene) => {
  const server = await scene.server();
  const browser = await scene.browser();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.signIn(await server.loginLink());
  await vendor.makeMeteredPlan({ name: 'Talk', rate: '6', hold: '3' });
  await vendor.makeCompanion({ name: 'Mei' });
  await vendor.credit({ client: 'wx-1', amount: '10', order: 'order-1' });
  const call = await vendor.makeCall({ client: 'wx-1', name: 'Lin' });

  const companions = await scene.browser({ who: 'companion' });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  const companion = new CompanionPage(await scene.tab(companions, 'companion'));
  await client.open(call.client.url);
  assert.equal(await client.tab.text('#check-price'), 'CN¥6.00 a minute; CN¥3.00 is set aside');
  assert.equal(await client.tab.text('#check-time'), 'up to 30 seconds, voice');
  await client.join();
  await companion.open(call.companion.url);
  assert.equal(await companion.tab.text('#ring-time'), 'up to 30 seconds');
  await companion.accept();
  await client.tab.body('state', 'live');
  assert.match(await client.spent(), /of CN¥3\.00 · CN¥6\.00 a minute now$/);
  assert.ok((await client.countdown()) <= 30, 'the quota counts down');

  assert.equal(await client.tab.text('#extend'), 'Top up CN¥3.00');
  await client.extend();
  await until('the top-up moves the end', async () => {
    if ((await client.countdown()) <= 30) throw new Error(String(await client.countdown()));
    return true;
  });
  assert.match(await client.spent(), /of CN¥6\.00/);
  const { id } = await vendor.onBoard('live');
  await until('a second is delivered: what is less is not charged', async () => (await server.call(id ?? '')).delivered_ms >= 1200);
  await vendor.tab.shown('[data-testid=call-spent]', /of CN¥6\.00/);
  await vendor.tab.click('[data-testid=call] summary');
  assert.equal(await vendor.tab.text('[data-testid=call-extend]'), 'Top up CN¥3.00 from the balance');

  await client.hangUp();
  const bill = await client.bill();
  const receipt = await server.receipt(id);
  assert.equal(receipt.charge.amount, 10 * Math.floor(receipt.delivered_ms / 1000));
  assert.equal(bill.charge + bill.refund, 600);
  assert.match(bill.receipt, /CN¥3\.00 added by the client/);
  assert.ok((await companion.earned()) > 0);
});

scene('a plan until asleep is made of rows of hours, and a flat call has no button for more', async (scene) => {
  const server = await scene.server();
  const browser = await scene.browser();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.signIn(await server.loginLink());
  await vendor.makeNightPlan({ name: 'Night', day: '3', night: '1.80', cap: '600' });
  await vendor.tab.fill('#plan-linger', '2.5');
  await vendor.tab.fill('#plan-fade', '45');
  await vendor.tab.click('#plan-probe');
  await vendor.tab.click('#plan-more');
  await vendor.tab.fill('#plan-chime', '-50');
  await vendor.tab.fill('#plan-waiting', 'on');
  await vendor.tab.click('#plan-submit');
  await vendor.tab.shown('#plan-note');
  const [plan] = (await server.ask('GET', '/plans')).items;
  assert.equal(plan.cap_s, 8.75 * 3600);
  assert.deepEqual([plan.linger_s, plan.fade_s, plan.probe, plan.chime_dbfs, plan.waiting_sound], [150, 45, true, -50, true]);
  assert.match(await vendor.tab.shown('#plans', /Night/), /Until asleep · CN¥1\.80–CN¥3\.00 a minute/);

  const call = await server.sell({ sold: { kind: 'flat', price: { amount: 500, currency: 'CNY' } }, media: 'audio' });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  await client.open(call.client.url);
  assert.equal(await client.tab.text('#check-price'), 'CN¥5.00 for the whole call');
  assert.equal(await client.tab.text('#check-time'), 'as long as you like, voice');
  await client.join();
  assert.equal(await client.tab.evaluate(() => document.querySelector('#extend')?.checkVisibility()), false);
  assert.equal(await client.countdown(), 0, 'it counts up once they talk');
});

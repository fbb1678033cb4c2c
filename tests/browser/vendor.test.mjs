// The vendor's page: from the one-time link to a receipt, with nothing prepared by a program.

import assert from 'node:assert/strict';
import { ClientPage, CompanionPage, VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { scene } from './scene.mjs';
import { tap, tapped } from './sockets.mjs';

scene('an operator sells a call, watches it, ends it and reads the receipt', async (scene) => {
  const server = await scene.server();
  const browser = await scene.browser();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  const link = await server.loginLink();
  await vendor.signIn(link);
  assert.equal(await vendor.tab.text('#vendor-name'), 'Night Line');
  assert.ok(!(await vendor.tab.evaluate(() => location.href)).includes('#'), 'the code leaves the address bar');

  await vendor.makePlan({ name: 'Evening', seconds: 600, price: '20', grade: 'gold' });
  await vendor.makeCompanion({ name: 'Mei', grade: 'gold' });
  await vendor.credit({ client: 'wx-1', amount: '30.00', order: 'order-1' });
  const call = await vendor.makeCall({ client: 'wx-1', name: 'Lin' });
  await vendor.onBoard('connecting');

  const companions = await scene.browser({ who: 'companion' });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  const companion = new CompanionPage(await scene.tab(companions, 'companion'));
  await client.open(call.client.url);
  assert.equal(await client.tab.text('#check-grade-paid'), 'gold');
  await client.join();
  await companion.open(call.companion.url);
  assert.equal(await companion.tab.text('#ring-client'), 'Lin');
  await companion.accept();
  await client.tab.body('state', 'live');

  const { id, left } = await vendor.onBoard('live');
  assert.match(left, /^(9:5\d|10:00)$/);
  await vendor.endCall();
  await client.end();
  await companion.end();
  const receipt = await server.receipt(id);
  assert.equal(receipt.end_reason, 'vendor_ended');
  assert.ok(receipt.charge.amount + receipt.refund.amount === 2000, 'charge and refund are what was held');
  assert.match(await vendor.receipt(), /Evening/);
});

scene('an operator gives back money of a settled call, and pays back a balance', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ price: 2000, credit: 4000 });
  const { client } = await scene.live(call);
  await until('a second is delivered: what is less is not charged', async () => (await server.call(call.id)).delivered_ms >= 1200);
  await client.hangUp();
  await client.end();
  await server.receipt(call.id);
  const vendor = new VendorPage(await scene.tab(await scene.browser(), 'vendor'));
  await vendor.signIn(await server.loginLink());

  await vendor.refund({ amount: '20.01', reason: 'too much' });
  assert.match(await vendor.tab.shown('[data-testid=settled-refund-error]', /\w/), /cannot go back/);
  await vendor.tab.fill('[data-testid=refund-amount]', '3.33');
  await vendor.tab.fill('[data-testid=refund-reason]', 'the line <b>was</b> bad');
  await vendor.tab.click('[data-testid=settled-refund-submit]');
  const back = await vendor.tab.shown('[data-testid=settled-adjustment]', /3\.33/);
  assert.match(back, /the line <b>was<\/b> bad/, 'words are text');
  assert.match(await vendor.receipt(), /Given back later[^]*3\.33/);
  await vendor.tab.click('#view-close');

  assert.equal(await vendor.wallet(call.client_ref), 2333);
  await vendor.payBack({ amount: '23.33', order: 'back-1' });
  await vendor.tab.shown('[data-testid=wallet-available]', /\D0\.00/);
  assert.match(await vendor.tab.shown('[data-testid=wallet-line]', /./), /Paid back.*23\.33.*back-1/);
});

scene('a link that is withdrawn puts out who came in by it, and the new one opens', async (scene) => {
  const server = await scene.server();
  const vendor = new VendorPage(await scene.tab(await scene.browser(), 'vendor'));
  await vendor.signIn(await server.loginLink());
  await server.sell({ client: 'Lin' });
  await vendor.onBoard('connecting');
  await vendor.tab.click('[data-testid=call] [data-testid=call-links]');
  const old = { client: await vendor.tab.shown('#link-client', /#/), companion: await vendor.tab.shown('#link-companion', /#/) };

  const clients = await scene.browser();
  const client = new ClientPage(await scene.tab(clients, 'client'));
  await tap(client.tab);
  await client.open(old.client);
  const renewed = await vendor.renewLink('client');
  assert.match(renewed.said, /put out/);
  assert.notEqual(renewed.url, old.client);
  assert.equal(await vendor.tab.shown('#link-companion', /#/), old.companion, 'the other link stands');
  assert.match(await client.problem(), /withdrawn/);
  assert.equal((await tapped(client.tab)).opened, 1, 'who was put out does not knock again');

  await client.tab.reload();
  assert.match(await client.problem(), /withdrawn/);
  assert.equal((await tapped(client.tab)).opened, 1, 'the page that was loaded again asked once');
  const again = new ClientPage(await scene.tab(clients, 'client with the new link'));
  await again.open(renewed.url);
}, { alone: true });

scene('a login link works once, and signing out ends the session', async (scene) => {
  const server = await scene.server();
  const first = new VendorPage(await scene.tab(await scene.browser(), 'vendor'));
  const link = await server.loginLink();
  await first.signIn(link);
  await first.tab.reload();
  await first.tab.body('screen', 'home'); // the cookie carries on

  const second = new VendorPage(await scene.tab(await scene.browser(), 'somebody else'));
  await second.tab.open(link);
  await second.tab.body('screen', 'signin');
  assert.ok(await second.tab.shown('#signin-text'));

  const scripted = await first.tab.evaluate(() => document.cookie);
  assert.equal(scripted, '', 'no script sees the cookie');
  await first.tab.click('#sign-out');
  await first.tab.body('screen', 'signin');
  await first.tab.reload();
  await first.tab.body('screen', 'signin');
}, { alone: true });

// The vendor's forms that are folded away or seldom used: webhooks with a program that listens, giving back, the table of settlements, the
// fields of a night. Each is used once and looked at.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { look, PHONE } from './look.mjs';
import { VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { scene } from './scene.mjs';

/** A vendor's program that notes what it is told. @param {import('./scene.mjs').Scene} scene */
async function listener(scene) {
  /** @type {{ type: string, signatures: number }[]} */
  const told = [];
  const program = createServer((question, answer) => {
    let text = '';
    question.on('data', (part) => (text += part));
    question.on('end', () => {
      const signatures = String(question.headers['webhook-signature']).split(' ').length;
      told.push({ type: JSON.parse(text).type, signatures });
      answer.end();
    });
  });
  await new Promise((done) => program.listen(0, '127.0.0.1', () => done(null)));
  scene.atEnd(async () => void program.close());
  const { port } = /** @type {import('node:net').AddressInfo} */ (program.address());
  return { url: `http://127.0.0.1:${port}/events`, told };
}

scene('a webhook is added, tested, given a new secret and deleted', async (scene) => {
  const server = await scene.server({ settings: '[webhooks]\nallow_http = true\nallow_networks = ["127.0.0.0/8"]' });
  const { url, told } = await listener(scene);
  const { tab, page: vendor } = await page(scene, server);
  await vendor.show('setup');
  await tab.fill('#hook-url', 'ftp://nowhere');
  await tab.click('#hook-submit');
  assert.match(await tab.shown('#hook-error'), /not right/);
  await tab.fill('#hook-url', url);
  await tab.click('#hook-submit');
  const secret = await tab.shown('#hook-secret', /^whsec_/);
  await look(tab, 'vendor-webhook-secret', { sizes: [PHONE], at: '#hook-url' });
  await tab.click('#hook-secret-close');
  assert.equal(await tab.text('#hook-secret'), null);

  await tab.click('[data-testid=hook-test]');
  await tab.shown('[data-testid=hook-note]', /arrived/);
  assert.equal(told.length, 1, JSON.stringify(told));
  await tab.click('[data-testid=hook-rotate]');
  await tab.click('#confirm-yes');
  await until('there is a new secret', async () => ![null, '', secret].includes(await tab.text('#hook-secret')));
  await tab.click('#hook-secret-close');
  await tab.click('[data-testid=hook-test]');
  await until('the next test is signed with both', () => told.at(-1)?.signatures === 2);

  await tab.fill('#hook-url', 'https://127.0.0.1:9/nobody');
  await tab.click('#hook-submit');
  await tab.click('#hook-secret-close');
  await tab.click('#hooks li:nth-child(2) [data-testid=hook-test]');
  await tab.shown('#hooks li:nth-child(2) [data-testid=hook-note]', /./);
  await look(tab, 'vendor-webhooks', { at: '#hook-title' });
  for (const left of [1, 0]) {
    await tab.click('[data-testid=hook-delete]');
    await tab.click('#confirm-yes');
    await until(`${left} are left`, async () => (await tab.evaluate(() => document.querySelectorAll('[data-testid=hook]').length)) === left);
  }
}, { alone: true });

scene('settling better than the default is saved, worse is not offered, and the forms of giving back can be read', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ price: 2000, credit: 4000, media: 'audio' });
  const { client } = await scene.live(call);
  await until('a second is delivered: what is less is not charged', async () => (await server.call(call.id)).delivered_ms >= 1200);
  await client.hangUp();
  await client.end();
  await server.receipt(call.id);
  const { tab, page: vendor } = await page(scene, server);

  await vendor.show('setup');
  const left = '#settlement [data-ending=client_left]';
  const ours = '#settlement [data-ending=companion_left]';
  await tab.click(`${left} summary`);
  await tab.click(`${ours} summary`);
  const offered = await tab.evaluate((row) => [...document.querySelectorAll(`${row} [data-testid=rule-metered] option`)].map((one) => one.textContent), ours);
  assert.deepEqual(offered, ['Only the time delivered', 'Free']);
  await look(tab, 'vendor-settlement', { at: '#settlement-title' });
  await tab.fill(`${left} [data-testid=rule-block]`, 'exact_delivered');
  await tab.fill('#settlement-flat-min', '15');
  await tab.click('#settlement-submit');
  await tab.shown('#settlement-note', /As saved/);
  const policy = await server.ask('GET', '/settlement');
  assert.deepEqual([policy.flat_min_s, policy.rules.client_left.block, policy.rules.companion_left.block], [900, 'exact_delivered', 'exact_delivered']);

  await vendor.show('settled');
  await tab.click('[data-testid=settled-refund] summary');
  await tab.fill('[data-testid=refund-reason]', 'the line was bad');
  await look(tab, 'vendor-refund', { at: '#settled' });
  assert.equal(await tab.text('[data-testid=refund-reason]'), 'the line was bad', 'another language takes nothing away');
  await vendor.wallet(call.client_ref);
  await tab.click('[data-testid=wallet-refund] summary');
  await look(tab, 'vendor-wallet', { at: '#wallet-title' });
}, { alone: true });

/** The vendor's page, signed in. @param {import('./scene.mjs').Scene} scene @param {import('./server.mjs').Server} server */
async function page(scene, server) {
  const tab = await scene.tab(await scene.browser(), 'vendor');
  const page = new VendorPage(tab);
  await page.signIn(await server.loginLink());
  return { tab, page };
}

// Every main screen, at the size of a phone and of a desk, in both languages: pictures to look at, nothing wider than its window,
// and nothing that axe objects to. One picture is the README's: UPDATE_PICTURE=1 rewrites it.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { look as lookAt } from './look.mjs';
import { ClientPage, CompanionPage, VendorPage } from './pages.mjs';
import { scene } from './scene.mjs';
import { ROOT } from './server.mjs';

const PICTURE = 'docs/call.png';

/**
 * @param {import('./scene.mjs').Scene} scene
 * @param {import('./browser.mjs').Tab} tab
 * @param {string} screen
 * @param {string[]} [languages]
 */
const look = ({ pair }, tab, screen, languages) => lookAt(tab, screen, { languages, mark: pair.client === 'chromium' ? '' : `-${pair.client}` });

scene('every screen can be read, on a phone and on a desk, in English and Chinese', async (scene) => {
  const server = await scene.server();
  const browser = await scene.browser();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.tab.open(`${server.url}/vendor`);
  await vendor.tab.body('screen', 'signin');
  await look(scene, vendor.tab, 'vendor-signin');
  await vendor.signIn(await server.loginLink());
  await look(scene, vendor.tab, 'vendor-empty');

  const call = await server.sell({ plan: '晚安 15 minutes', grade: 'gold', companion: 'Mei', client: 'Lin', media: 'video', credit: 6000 });
  const companions = await scene.browser({ who: 'companion' });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  const companion = new CompanionPage(await scene.tab(companions, 'companion'));
  await client.open(call.client.url);
  await look(scene, client.tab, 'client-check');
  await client.join();
  await look(scene, client.tab, 'client-waiting');
  await companion.open(call.companion.url);
  await look(scene, companion.tab, 'companion-ring');
  await companion.accept();
  await client.seesPicture();
  await companion.seesPicture();
  await look(scene, client.tab, 'client-call');
  await look(scene, companion.tab, 'companion-call');

  await vendor.tab.reload();
  await vendor.onBoard('live');
  await look(scene, vendor.tab, 'vendor-live');
  await vendor.tab.click('[data-testid=call] [data-testid=call-links]');
  await vendor.tab.shown('#link-client', /#/);
  await look(scene, vendor.tab, 'vendor-links');
  await vendor.tab.click('#links-close');
  await vendor.show('setup');
  await look(scene, vendor.tab, 'vendor-setup');
  await vendor.show('credit');
  await look(scene, vendor.tab, 'vendor-credit');

  await client.tab.click('#hang-up');
  await client.tab.shown('#hang-up-dialog');
  await look(scene, client.tab, 'client-hang-up', ['en']); // an open dialog keeps the language button out of reach
  await client.tab.click('#hang-up-yes');
  await client.bill();
  await look(scene, client.tab, 'client-end');
  await companion.earned();
  await look(scene, companion.tab, 'companion-end');
  await vendor.show('settled');
  await vendor.tab.shown('[data-testid=settled]');
  await look(scene, vendor.tab, 'vendor-settled');

  const stranger = new ClientPage(await scene.tab(browser, 'stranger'));
  await stranger.tab.open(`${server.url}/client#nonsense`);
  await stranger.problem();
  await look(scene, stranger.tab, 'client-problem');
}, { alone: true });

scene('a metered call and the form of its plan can be read too', async (scene) => {
  const server = await scene.server();
  const browser = await scene.browser();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.signIn(await server.loginLink());
  await vendor.makeNightPlan({ name: 'Night', day: '3', night: '1.80', cap: '600' });
  await vendor.tab.click('#plan-more');
  await look(scene, vendor.tab, 'vendor-plan');

  const windows = [{ label: 'day', start: '08:00', end: '23:00', rate_minor_per_min: 300 }, { label: 'night', start: '23:00', end: '08:00', rate_minor_per_min: 180 }];
  const increments = { first_increment_s: 60, increment_s: 60, tz: 'Asia/Shanghai', windows };
  const call = await server.sell({ plan: '陪到睡着', sold: { kind: 'until_asleep', ...increments, cap_minor: 60000, hold: { amount: 6000, currency: 'CNY' } }, credit: 20000, media: 'audio' });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  const companion = new CompanionPage(await scene.tab(await scene.browser({ who: 'companion' }), 'companion'));
  await client.open(call.client.url);
  await look(scene, client.tab, 'client-check-metered');
  await client.join();
  await companion.open(call.companion.url);
  await look(scene, companion.tab, 'companion-ring-metered');
  await companion.accept();
  await client.tab.body('state', 'live');
  await client.spent();
  await look(scene, client.tab, 'client-call-metered');
  await look(scene, companion.tab, 'companion-call-metered');
  await vendor.show('live');
  await vendor.onBoard('live');
  await look(scene, vendor.tab, 'vendor-live-metered');
  await client.hangUp();
  await client.bill();
  await look(scene, client.tab, 'client-end-metered');
}, { alone: true });

if (process.env.UPDATE_PICTURE) {
  scene('the picture of the README is taken of a call with the built-in companion', async (scene) => {
    const demo = await scene.demo();
    const client = new ClientPage(await scene.tab(await scene.browser(), 'client'));
    await client.tab.resize({ width: 1280, height: 800 });
    await client.open(demo.links.client);
    await client.join();
    await client.seesPicture();
    await client.tab.shown('#countdown', /^14:[0-4]/);
    await client.tab.picture(path.join(ROOT, PICTURE));
  });
}

test('the README shows the picture of a call', () => {
  assert.match(readFileSync(path.join(ROOT, 'README.md'), 'utf8'), /docs\/call\.png/);
  assert.ok(existsSync(path.join(ROOT, PICTURE)), `${PICTURE} is missing: run make pictures`);
});

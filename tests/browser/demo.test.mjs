// What somebody sees who tries lull alone: three links that work at once, and a companion who answers.

import assert from 'node:assert/strict';
import { ClientPage, VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { scene } from './scene.mjs';
import { loudness } from './sound.mjs';

/** A voice between the overtones of what the companion hums. */
const OWN_HZ = 700;
/** No voice: what the ear is asked for needs a second pitch. */
const OTHER_HZ = 1700;

scene('one person alone talks to the built-in companion and sees the call on the vendor page', async (scene) => {
  const demo = await scene.demo();
  const browser = await scene.browser({ hz: OWN_HZ });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  await client.open(demo.links.client);
  await client.join();
  await client.tab.body('state', 'live');
  await client.seesPicture();
  await until('the client hears anything at all', async () => {
    const now = await loudness(client.tab, OWN_HZ, OTHER_HZ);
    return now && (await loudest(client.tab)) > -60;
  });

  // Silence after her own words: then they come back.
  await client.tab.click('#mute');
  await until('the client hears her own words', async () => {
    const now = await loudness(client.tab, OWN_HZ, OTHER_HZ);
    if (!now) throw new Error('no sound is received');
    if (now.db < -60 || now.db < now.otherDb + 20) throw new Error(JSON.stringify(now));
    return true;
  });

  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.signIn(demo.links.vendor);
  await vendor.onBoard('live');
  await client.hangUp();
  assert.ok(await client.end());
  await client.bill();
}, { alone: true, everywhere: true });

scene('over HTTPS, with the certificate made on the spot, a page gets a microphone, its socket and a call', async (scene) => {
  const demo = await scene.demo({ lan: true });
  assert.match(demo.links.client, /^https:/);
  const browser = await scene.browser({ trusting: true });
  const client = new ClientPage(await scene.tab(browser, 'client'));
  await client.open(demo.links.client);
  await client.join();
  await client.tab.body('state', 'live');
  await client.seesPicture();
  const vendor = new VendorPage(await scene.tab(browser, 'vendor'));
  await vendor.signIn(demo.links.vendor);
  await vendor.onBoard('live');
  await client.hangUp();
  assert.ok(await client.end());
}, { alone: true });

/**
 * The loudest pitch the ear in the page hears, in dB.
 * @param {import('./browser.mjs').Tab} tab
 */
function loudest(tab) {
  return tab.evaluate(() => {
    const { ear } = /** @type {{ ear?: { analyser: AnalyserNode } }} */ (/** @type {unknown} */ (globalThis));
    const bins = new Float32Array(ear?.analyser.frequencyBinCount ?? 0);
    ear?.analyser.getFloatFrequencyData(bins);
    return Math.max(-200, ...bins);
  });
}

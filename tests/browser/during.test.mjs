// What changes during a call: a camera that is turned on later, a page that is closed, a socket that is gone, a microphone that is refused.

import assert from 'node:assert/strict';
import { ClientPage, CompanionPage } from './pages.mjs';
import { until } from './patience.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { cut, tap } from './sockets.mjs';
import { hears } from './sound.mjs';

scene('a camera that is turned on in the middle is seen, and turned off it is gone', async (scene) => {
  const server = await scene.server();
  const { client, companion } = await scene.parties(await server.sell({ media: 'video' }));
  await client.join();
  await client.tab.click('#camera');
  await client.tab.shown('#camera', /on/);
  await companion.accept();
  await companion.tab.body('state', 'live');
  await client.seesPicture();
  assert.equal(await companion.tab.text('#remote-video'), null, 'nothing is to be seen yet');

  await client.tab.click('#camera');
  await companion.seesPicture();
  await client.tab.click('#camera');
  await until('the companion has no picture any more', async () => (await companion.tab.text('#remote-video')) === null);
  await client.tab.click('#camera');
  await companion.seesPicture();
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
}, { everywhere: true });

scene('a page that is closed pauses the call, and one that is opened goes on with it', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion, companions } = await scene.live(call);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });

  const closed = performance.now();
  await companion.tab.close();
  await client.tab.body('state', 'paused');
  console.log(`paused after ${Math.round(performance.now() - closed)} ms`);
  const paused = await server.call(call.id);
  assert.deepEqual([paused.running, paused.paused_by], [false, 'companion']);

  const again = new CompanionPage(await scene.tab(companions, 'companion again'));
  await again.open(call.companion.url);
  await again.accept();
  await client.tab.body('state', 'live');
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await hears(again.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
}, { everywhere: true });

scene('a call whose sockets are gone is told what happens and can be ended: by the data channel', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ block_s: 60, media: 'audio' });
  const { client, companion } = await scene.parties(call);
  for (const page of [client, companion]) {
    await tap(page.tab);
    await page.tab.reload(); // so that its socket is tapped from the start
  }
  await client.join();
  await companion.accept();
  await client.tab.body('state', 'live');
  await companion.tab.body('state', 'live');
  await until('a second was delivered', async () => (await server.call(call.id)).delivered_ms > 1000);

  for (const page of [client, companion]) {
    await cut(page.tab);
    await page.tab.body('link', 'lost');
  }
  await companion.give(5);
  await client.tab.shown('#countdown', /^[56]:/);
  await client.extend();
  await companion.tab.shown('#countdown', /^[67]:/);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await client.hangUp();
  assert.ok(await client.end());
  assert.ok(await companion.end());
  assert.equal((await server.receipt(call.id)).end_reason, 'client_left');
}, { alone: true, everywhere: true });

scene('who lets no page have a microphone is told so and may listen, also after a reload', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const client = new ClientPage(await scene.tab(await scene.browser({ shy: true }), 'shy client'));
  const companion = new CompanionPage(await scene.tab(await scene.browser({ who: 'companion' }), 'companion'));
  await client.open(call.client.url);
  await client.tab.click('#check-microphone');
  assert.match(await client.tab.shown('#check-trouble'), /did not allow/);
  await client.tab.shown('#join', /only listen/);
  await client.join();
  await companion.open(call.companion.url);
  await companion.accept();
  await client.tab.body('state', 'live');
  await client.tab.shown('#line', /only listening/);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await until('it sounds', () => sounds(client));

  await untouched(client);
  await client.reload();
  await client.tab.body('screen', 'call');
  await client.tab.body('state', 'live');
  await client.tab.shown('#play-hint');
  assert.equal(await sounds(client), false);
  await client.tab.click('#play-hint');
  await until('it sounds again', () => sounds(client));
  assert.equal(await client.tab.text('#play-hint'), null);
}, { alone: true, everywhere: true });

/**
 * The loudspeaker has the other's voice and plays it.
 * @param {ClientPage} page
 */
function sounds(page) {
  return page.tab.evaluate(() => {
    const element = document.querySelector('#remote-audio');
    return element instanceof HTMLAudioElement && element.srcObject !== null && !element.paused && element.currentTime > 0;
  });
}

/**
 * Plays a browser that lets a page that was loaded again make no sound before it is touched. Whether a real one does depends on what it
 * remembers of the site.
 * @param {ClientPage} page
 */
async function untouched(page) {
  await page.tab.before(() => {
    const { play } = HTMLMediaElement.prototype;
    let isTouched = false;
    addEventListener('pointerdown', () => (isTouched = true), { capture: true });
    HTMLMediaElement.prototype.play = function () {
      if (isTouched) return play.call(this);
      this.pause();
      return Promise.reject(new DOMException('played', 'NotAllowedError'));
    };
  });
}

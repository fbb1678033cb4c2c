// What goes wrong in a call, or is done on purpose: reloads, second pages, hanging up, abuse, bad links, markup in names.

import assert from 'node:assert/strict';
import { look } from './look.mjs';
import { ClientPage, CompanionPage, VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { refuse, tap, tapped } from './sockets.mjs';
import { hears } from './sound.mjs';

/** A reloaded page hears the other again within this. */
const BACK_WITHIN_MS = 3000;

scene('a reloaded page is back in the same call within three seconds', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion } = await scene.live(call);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });

  const started = performance.now();
  await client.reload();
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ, times: 1 });
  const took = performance.now() - started;
  console.log(`back after ${Math.round(took)} ms`);
  assert.ok(took < BACK_WITHIN_MS, `back after ${Math.round(took)} ms`);

  await client.tab.body('state', 'live');
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  const after = await server.call(call.id);
  assert.equal(after.state, 'live');
  assert.equal(after.blocks, 1);
}, { everywhere: true });

scene('a device that comes into another network keeps its call', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion } = await scene.parties(call);
  await tap(client.tab);
  await client.reload(); // so that its socket is tapped from the start
  await client.join();
  await companion.accept();
  await client.tab.body('state', 'live');
  await client.tab.evaluate(() => dispatchEvent(new Event('online'))); // what a browser says then
  await until('the restart was asked for and answered', async () => {
    const { said } = await tapped(client.tab);
    return said.includes('ice_restart') && said.lastIndexOf('answer') > said.indexOf('ice_restart');
  });
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  assert.equal((await tapped(client.tab)).said.filter((type) => type === 'offer').length, 1, 'the leg is the same');
  assert.equal((await server.call(call.id)).state, 'live');
}, { everywhere: true });

scene('a second page of the client takes her place and the first says why', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion, clients } = await scene.live(call);

  const second = new ClientPage(await scene.tab(clients, 'second client'));
  await second.open(call.client.url);
  await second.join();
  assert.ok(await client.problem());
  await client.tab.body('problem', 'replaced');
  await hears(second.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  assert.equal((await server.call(call.id)).state, 'live');
});

scene('the companion ends an abusive call with one button', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion } = await scene.live(call);
  await companion.report();
  assert.ok(await companion.end());
  assert.ok(await client.end());
  const receipt = await server.receipt(call.id);
  assert.deepEqual([receipt.end_reason, receipt.at_fault], ['abuse_reported', 'client']);
  assert.equal((await client.bill()).charge, receipt.charge.amount);
});

scene('a gift of the companion lengthens the call and costs nothing; the client hangs up', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ block_s: 60, price: 2000, media: 'audio' });
  const { client, companion } = await scene.live(call);
  const before = await client.countdown();
  await companion.give(5);
  await client.tab.shown('#countdown', /^[56]:/);
  assert.ok((await client.countdown()) > before + 200);
  assert.equal((await server.call(call.id)).gift_s, 300);
  // Below one delivered second no block has begun, and hanging up is free.
  await until('a second was delivered', async () => (await server.call(call.id)).delivered_ms > 1000);

  await client.hangUp();
  assert.notEqual(await client.end(), await companion.end(), 'each is told from her own side');
  const receipt = await server.receipt(call.id);
  assert.deepEqual([receipt.end_reason, receipt.at_fault], ['client_left', 'client']);
  assert.equal(receipt.charge.amount, 2000);
});

scene('who mutes herself is silent for the other, and the other is told', async (scene) => {
  const server = await scene.server();
  const { client, companion } = await scene.live(await server.sell({ media: 'audio' }));
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  await client.tab.click('#mute');
  await companion.tab.shown('#line');
  await client.tab.click('#mute');
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  await client.tab.body('state', 'live');
}, { everywhere: true });

scene('a link that was altered or belongs to the other page says so in words', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const browser = await scene.browser();
  const page = new ClientPage(await scene.tab(browser, 'forger'));

  const sentences = new Set();
  for (const [url, code] of [
    [call.client.url.slice(0, -6) + 'AAAAAA', 'token_invalid'],
    [`${server.url}/client#nonsense`, 'token_invalid'],
    [`${server.url}/client#${call.companion.token}`, 'wrong_page'],
    [`${server.url}/client`, 'no_token'],
  ]) {
    await page.tab.open('about:blank');
    await page.tab.open(String(url));
    sentences.add(await page.problem());
    await page.tab.body('problem', String(code));
  }
  assert.equal(sentences.size, 3, 'each kind has a sentence of its own');
}, { alone: true });

scene('each refusal of a token has a sentence of its own, in both languages', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const browser = await scene.browser();
  const sentences = new Set();
  // A token expires ten minutes after the latest possible end of its call: the answer is played, not waited for.
  const codes = ['token_invalid', 'token_expired', 'token_early', 'token_revoked'];
  for (const code of codes) {
    const page = new ClientPage(await scene.tab(browser, code));
    await refuse(page.tab, code);
    await page.tab.open(call.client.url);
    sentences.add(await page.problem());
    await page.tab.click('#language');
    sentences.add(await page.tab.shown('#problem-text', /\p{Script=Han}/u));
    await page.tab.click('#language'); // the choice is kept for the next tab
    await page.tab.close();
  }
  assert.equal(sentences.size, codes.length * 2);
}, { alone: true });

scene('markup in every name is shown as text and never run', async (scene) => {
  const evil = (/** @type {string} */ who) => `<img src=x onerror="document.body.dataset.ran=1"><script>document.body.dataset.ran=1</script>${who}`;
  const names = { plan: evil('P'), companion: evil('C'), client: evil('L'), vendor: evil('V') };
  const grade = '<img src=x onerror=alert(1)>';
  const server = await scene.server({ vendor: names.vendor });
  const call = await server.sell({ plan: names.plan, grade, companion: names.companion, client: names.client, media: 'audio' });
  const { client, companion, clients } = await scene.parties(call);
  const vendor = new VendorPage(await scene.tab(clients, 'vendor'));
  await vendor.signIn(await server.loginLink());

  /** @param {import('./browser.mjs').Tab} tab @param {string[]} wanted */
  const showsAsText = async (tab, ...wanted) => {
    for (const name of wanted) {
      await until(`${tab.name} shows ${name}`, () => tab.evaluate((name) => document.body.textContent?.includes(name), name));
    }
    const ran = await tab.evaluate(() => document.body.dataset.ran ?? document.querySelectorAll('img[src=x], body script').length);
    assert.equal(ran, 0, `${tab.name}: markup became elements`);
  };
  await showsAsText(client.tab, names.plan, names.companion, grade);
  await showsAsText(companion.tab, names.plan, names.client);
  await showsAsText(vendor.tab, names.plan, names.companion, names.client, names.vendor);

  await client.join();
  await companion.accept();
  await client.tab.body('state', 'live');
  await showsAsText(client.tab, names.companion);
  await showsAsText(companion.tab, names.client);
  await client.hangUp();
  await client.bill();
  await showsAsText(client.tab, names.plan, names.companion);
  await companion.end();
  await showsAsText(companion.tab);
  await vendor.receipt();
  await showsAsText(vendor.tab, names.plan);
});

scene('a whole call with the keyboard alone', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion } = await scene.parties(call);
  await client.tab.tabTo('#join');
  await client.tab.press('Enter');
  await client.tab.body('screen', 'call');
  await companion.tab.tabTo('#accept');
  await companion.tab.press('Enter');
  await client.tab.body('state', 'live');
  await client.tab.tabTo('#mute');
  await client.tab.press(' ');
  await client.tab.tabTo('#hang-up');
  await client.tab.press('Enter');
  await client.tab.tabTo('#hang-up-yes');
  await client.tab.press('Enter');
  await client.end();
  assert.equal((await server.receipt(call.id)).end_reason, 'client_left');
});

scene('the links of an ended call lead to its end, and nobody gets in any more', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  await server.ask('POST', `/calls/${call.id}/end`, {});
  const browser = await scene.browser();
  const client = new ClientPage(await scene.tab(browser, 'late client'));
  await client.tab.open(call.client.url);
  assert.ok(await client.end());
  assert.equal((await client.bill()).charge, 0);
  const companion = new CompanionPage(await scene.tab(browser, 'late companion'));
  await companion.tab.open(call.companion.url);
  assert.ok(await companion.end());
}, { alone: true });

scene('a page a part of which does not come loads itself anew, and in the end says so', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const tab = await scene.tab(await scene.browser(), 'client');
  let asked = 0;
  let breaks = 2;
  await tab.breaking('/call/words.js', () => {
    asked += 1;
    return asked <= breaks;
  });
  await tab.open(call.client.url);
  await tab.body('screen', 'check');
  assert.equal(asked, 3, 'two loads broke off');

  [asked, breaks] = [0, Infinity];
  await tab.reload();
  await tab.shown('#load-text', /part of this page did not come/);
  assert.equal(asked, 4, 'it tried by itself first');
  await look(tab, 'load-failed', { languages: ['en'] }); // nothing that could change the language is there
  breaks = 0;
  await tab.click('#load-again');
  await tab.body('screen', 'check');
  assert.ok(new URL(await tab.evaluate(() => location.href)).hash.length > 1, 'the link is still in the address');
}, { alone: true });

/** When a page would have loaded itself anew, by its own clock: a second after it began, and some time for a crowded machine. */
const LOADED_ANEW_MS = 2500;

scene('a page that came up without its looks is left alone', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const tab = await scene.tab(await scene.browser(), 'client');
  let asked = 0;
  await tab.breaking('/style.css', () => {
    asked += 1;
    return true;
  });
  await tab.open(call.client.url);
  await tab.body('screen', 'check');
  assert.equal(await tab.evaluate(() => document.documentElement.dataset.load), 'failed', 'it knows that something is missing');
  await until('it had the time to load itself anew', () => tab.evaluate((after) => performance.now() > after, LOADED_ANEW_MS));
  assert.equal(asked, 1, 'nothing is taken from whoever is there');
  await tab.body('screen', 'check');
}, { alone: true });

scene('a page a part of which does not come waits for the network before it loads itself anew', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const tab = await scene.tab(await scene.browser(), 'client');
  let asked = 0;
  await tab.breaking('/call/words.js', () => {
    asked += 1;
    return asked === 1;
  });
  await tab.before(() => {
    Object.defineProperty(Navigator.prototype, 'onLine', { get: () => localStorage.getItem('test.online') === 'yes' });
  });
  await tab.open(call.client.url);
  await until('it had the time to load itself anew', () => tab.evaluate((after) => performance.now() > after, LOADED_ANEW_MS));
  assert.equal(asked, 1, 'without a network nothing would come');
  await tab.evaluate(() => {
    localStorage.setItem('test.online', 'yes');
    dispatchEvent(new Event('online')); // what a browser says then
  });
  await tab.body('screen', 'check');
  assert.equal(asked, 2);
}, { alone: true });

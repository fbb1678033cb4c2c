// A call until asleep, and a recording, as both see it. The server's part is played, so that no test waits for somebody to fall asleep;
// what is said on the wire is the real server's business, and the last scene is played with it.

import assert from 'node:assert/strict';
import { look, PHONE } from './look.mjs';
import { ClientPage, CompanionPage, VendorPage } from './pages.mjs';
import { until } from './patience.mjs';
import { done, end, letScreenGo, LIVE, NIGHT, play, refuse, show, times } from './played.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { tap, tapped } from './sockets.mjs';
import { hears } from './sound.mjs';

/** What an "asleep" call came to. */
const RECEIPT = {
  call_id: 'call_played', plan_name: '陪到睡着', companion_name: 'Mei', started_at: '2026-11-22T14:30:00.000Z', ended_at: '2026-11-22T14:57:00.000Z',
  delivered_ms: 1_500_000, billed_s: 1500, end_reason: 'asleep', at_fault: 'none', settlement: 'as_rated', lines: [{ label: 'night', quantity: 1500, unit: 's', amount: { amount: 4500, currency: 'CNY' } }],
  held: { amount: 6000, currency: 'CNY' }, charge: { amount: 4500, currency: 'CNY' }, refund: { amount: 1500, currency: 'CNY' },
};

/** How bright the page is: the brightest of what it is painted with, 0 to 255. @param {import('./browser.mjs').Tab} tab */
function brightest(tab) {
  return tab.evaluate(() => {
    const colours = [...document.querySelectorAll('html, body, body *')].flatMap((element) => {
      if (!element.checkVisibility()) return [];
      const { color, backgroundColor, borderTopColor, borderTopWidth } = getComputedStyle(element);
      return [color, backgroundColor, ...(borderTopWidth === '0px' ? [] : [borderTopColor])];
    });
    return Math.max(...colours.filter((colour) => !/, 0\)$/.test(colour)).flatMap((colour) => (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number)));
  });
}

scene('a client falls asleep by a dark page that keeps silent, and a touch keeps the call', async (scene) => {
  const server = await scene.server();
  const { tab } = new ClientPage(await scene.tab(await scene.browser(), 'client'));
  await play(tab, 'client', { holdsScreen: false });
  await tab.open(`${server.url}/client#played`);
  await tab.body('screen', 'check');
  assert.match(await tab.shown('#check-night-ends'), /Mei’s voice slowly grows softer/);
  assert.match(await tab.shown('#check-night-limit'), /33 minutes, or when CN¥60\.00/);
  await look(tab, 'night-client-check');

  await tab.click('#join');
  await tab.body('night', 'dark');
  const { opened } = await done(tab);
  assert.deepEqual(opened.at(-1)?.audio, { echoCancellation: true, noiseSuppression: false, autoGainControl: false });
  await show(tab, LIVE);
  await tab.shown('#night-note', /screen may go off/);
  await look(tab, 'night-client-dark');
  assert.ok((await brightest(tab)) < 185, `so bright: ${await brightest(tab)}`);
  const { locks } = await done(tab);
  await tab.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  assert.ok((await done(tab)).locks > locks, 'whoever looks again is asked for the screen again');
  const asked = (await done(tab)).locks;

  await tab.tabTo('#here'); // and without eyes or a finger
  await tab.press('Enter');
  await tab.shown('#here-note', /awake/);
  await until('the touch is told', async () => (await times(tab, 'im_here')) > 0);
  assert.ok((await done(tab)).locks > asked, 'a touch asks for the screen again');
  await tab.click('#mute');
  await tab.shown('#night-note', /muted: nobody can know/);
  assert.deepEqual((await done(tab)).said.filter(({ type }) => type === 'devices').at(-1).audio, false, 'mute is told');
  await look(tab, 'night-client-muted', { sizes: [PHONE] });
  await tab.click('#mute');

  await show(tab, { night: { ...NIGHT, phase: 'lingering', sleep: 'asleep', phase_left_ms: 200_000 } });
  await tab.shown('#night-state', /seems that you sleep/);
  await show(tab, { state: 'landing', running: false, night: { ...NIGHT, phase: 'landing', sleep: 'asleep', phase_left_ms: 40_000 } });
  await tab.shown('#night-state', /growing softer/);
  const aloud = await tab.evaluate(() => ['state', 'line', 'notice', 'night-note'].map((id) => document.getElementById(id)?.getAttribute('aria-live')));
  assert.deepEqual([...new Set(aloud)], ['off'], 'no screen reader wakes her');
  await look(tab, 'night-client-landing');
  assert.equal(await tab.text('#here-note'), null, 'nothing says that the call goes on while it lands');
  const before = await times(tab, 'im_here');
  await until('any touch while it lands is told', async () => {
    await tab.click('#countdown');
    return (await times(tab, 'im_here')) > before;
  });
  await show(tab, { ...LIVE, night: NIGHT });
  await until('she is told nothing more of sleep', async () => (await tab.text('#night-state')) === null);
  await tab.shown('#here-note', /goes on/);

  await tab.click('#night-light');
  await tab.body('night', 'light');
  await look(tab, 'night-client-light');
  await tab.click('#night-light');
  await tab.body('night', 'dark');

  await end(tab, { reason: 'asleep', receipt: RECEIPT });
  await tab.body('screen', 'goodnight');
  assert.match(await tab.shown('#goodnight-reason'), /fell asleep/);
  assert.ok((await brightest(tab)) < 185);
  assert.notEqual(await tab.evaluate(() => document.activeElement?.tagName), 'H1', 'nothing is read aloud');
  await look(tab, 'night-client-goodnight');
  await tab.click('#goodnight-receipt');
  await tab.body('screen', 'end');
  assert.match(await tab.shown('#end-promise'), /when the voice began to fade/);
  await look(tab, 'night-client-end', { sizes: [PHONE] });
}, { alone: true });

scene('a screen that the browser lets go while it is looked at is held again', async (scene) => {
  const server = await scene.server();
  const { tab } = new ClientPage(await scene.tab(await scene.browser(), 'client'));
  await play(tab, 'client');
  await tab.open(`${server.url}/client#played`);
  await tab.click('#join');
  await show(tab, LIVE);
  await until('the screen is held', async () => (await done(tab)).locks === 1);
  await letScreenGo(tab);
  await until('it is asked for again', async () => (await done(tab)).locks === 2);
  assert.equal(await tab.text('#night-note'), null, 'nothing is wrong');
}, { alone: true });

scene('a companion sees whether the client sleeps and why, is asked for a soft word, and says what she hears', async (scene) => {
  const server = await scene.server();
  const { tab } = new CompanionPage(await scene.tab(await scene.browser(), 'companion'));
  await play(tab, 'companion');
  await tab.open(`${server.url}/companion#played`);
  await tab.body('screen', 'ring');
  assert.match(await tab.shown('#ring-night'), /falls asleep/);
  await tab.click('#accept');
  const grounds = { evidence_milli: 2400, period_ms: 4200, constancy_bp: 8800, quiet_s: 380, movements: 1, missing_bp: 200, unanswered: 0 };
  await show(tab, { ...LIVE, spent: null, earned: { amount: 1638, currency: 'CNY' }, night: { ...NIGHT, sleep: 'unknown', sleep_for_ms: 130_000, why: 'muted', grounds: { ...grounds, period_ms: null } } });
  await tab.shown('#sleep-why', /Lin’s microphone is muted/);
  await look(tab, 'night-companion-unknown', { sizes: [PHONE] });
  await show(tab, { night: { ...NIGHT, sleep: 'drowsy', sleep_for_ms: 100_000, why: 'breathing', grounds, suggest: true } });
  await tab.shown('#sleep-suggest', /Say something soft/);
  assert.equal(await tab.text('#sleep-since'), '· for 1 minute');
  assert.equal(await tab.text('#sleep-grounds'), 'quiet for 6 minutes · a breath every 4.2 s, even · 1 movement in five minutes');
  await look(tab, 'night-companion-drowsy');
  await tab.click('#says-asleep');
  assert.equal(await times(tab, 'says_asleep'), 1);
  // It is refused; when the ear finds it later, she may say it again.
  await refuse(tab, 'says_asleep', 'rate_limited');
  await show(tab, { night: { ...NIGHT, phase: 'lingering', sleep: 'asleep', phase_left_ms: 300_000, why: 'breathing', grounds } });
  await tab.click('#says-asleep');
  assert.equal(await times(tab, 'says_asleep'), 2);
  await tab.shown('#says-asleep:disabled');
  await show(tab, { state: 'paused', running: false, paused_by: 'companion', night: { ...NIGHT, sleep: 'drowsy', sleep_for_ms: 100_000, why: 'breathing', grounds } });
  await tab.shown('#says-asleep:disabled');
  await show(tab, { ...LIVE, paused_by: null, night: { ...NIGHT, sleep: 'drowsy', sleep_for_ms: 100_000, why: 'breathing', grounds } });
  await tab.shown('#says-asleep:enabled');

  await show(tab, { night: { ...NIGHT, phase: 'lingering', sleep: 'asleep', sleep_for_ms: 60_000, phase_left_ms: 245_000, why: 'companion', grounds: { ...grounds, unanswered: 2 } } });
  await tab.shown('#sleep-left', /^4:0\d$/);
  await look(tab, 'night-companion-lingering');
  await show(tab, { state: 'landing', running: false, night: { ...NIGHT, phase: 'landing', sleep: 'asleep', sleep_for_ms: 360_000, phase_left_ms: 42_000, why: 'breathing', grounds } });
  await tab.shown('#sleep-next', /voice is fading/);
  await tab.shown('#state', /clock stands still/);
  await look(tab, 'night-companion-landing');
  await tab.click('#says-awake');
  assert.equal(await times(tab, 'says_awake'), 1);
  await end(tab, { reason: 'asleep', receipt: null });
  await tab.body('screen', 'end');
  assert.match(await tab.shown('#end-reason'), /client fell asleep/);
}, { alone: true });

scene('both are asked before anything is recorded, see it while it runs, and can stop it', async (scene) => {
  const server = await scene.server();
  const off = { client: false, companion: false, running: false, keep_days: 30, stopped: null };
  const client = new ClientPage(await scene.tab(await scene.browser(), 'client'));
  const companion = new CompanionPage(await scene.tab(await scene.browser(), 'companion'));
  for (const [{ tab }, role] of /** @type {const} */ ([[client, 'client'], [companion, 'companion']])) {
    await play(tab, role, { call: { recording: off, night: role === 'client' ? NIGHT : null } });
    await tab.open(`${server.url}/${role}#played`);
    await tab.shown('#recording-text', /shop alone, is kept for 30 days/);
    await look(tab, `recording-${role}-asked`, { sizes: [PHONE] });
    assert.equal(await times(tab, 'record'), 0, 'nobody says yes for her');
    await tab.click('#recording-yes');
    assert.deepEqual((await done(tab)).said.at(-1).consent, true);
    await tab.shown('#recording-text', /until then nothing is recorded/i);
    await show(tab, { recording: off });
    await tab.shown('#recording-text', /needs a yes from both/); // the other said no meanwhile
    await tab.click('#recording-yes');
    await show(tab, { recording: { ...off, [role]: true } });
    await tab.click(role === 'client' ? '#join' : '#accept');
    await show(tab, { ...LIVE, recording: { ...off, client: true, companion: true, running: true } });
    await tab.shown('#recording-words', /being recorded/);
    assert.equal(await tab.text('#recording'), null);
    await look(tab, `recording-${role}-runs`);
    await tab.click('#recording-stop');
    assert.deepEqual((await done(tab)).said.at(-1).consent, false);
    await show(tab, { recording: { ...off, stopped: `${role}_stopped` } });
    await tab.shown('#recording-text', new RegExp(`The ${role} stopped it`));
    assert.equal(await tab.text('#recording-notice'), null);
    await tab.shown('#recording-yes', /after all/);
    await show(tab, { recording: { ...off, stopped: 'disk_full' } });
    await tab.shown('#recording-text', /no more room/);
  }
}, { alone: true });

scene('a companion says that she sleeps: a touch keeps the call, and without one it ends asleep, dark and silent', async (scene) => {
  const server = await scene.server();
  const sold = { kind: 'until_asleep', first_increment_s: 1, increment_s: 1, rate_minor_per_min: 600, cap_minor: 6000, currency: 'CNY', linger_s: 2, fade_s: 10 };
  const call = await server.sell({ sold, credit: 6000, media: 'audio', plan: '陪到睡着' });
  const { client, companion } = await scene.parties(call, { prepare: (tab) => tap(tab) });
  await client.join();
  await client.tab.body('night', 'dark');
  // Her test voice never ceases, which would keep her awake; muted, only the companion can tell.
  await client.tab.click('#mute');
  await companion.accept();
  await client.tab.body('state', 'live');
  const { sdp } = await tapped(client.tab);
  assert.ok(sdp.length >= 2 && sdp.every((text) => !/usedtx=1/.test(text)), 'breath is not left out as silence');
  await companion.tab.shown('#sleep-why', /microphone is muted/);

  await companion.tab.click('#says-asleep');
  await client.tab.body('phase', 'landing');
  await companion.tab.shown('#sleep-next', /voice is fading/);
  assert.equal((await server.call(call.id)).state, 'landing');
  const stood = (await server.call(call.id)).delivered_ms;
  await client.tab.click('#here');
  await client.tab.body('phase', 'listening');
  await companion.tab.body('phase', 'listening');
  await until('the clock runs again', async () => (await server.call(call.id)).delivered_ms > stood);

  await companion.tab.click('#says-asleep');
  await client.tab.body('phase', 'landing');
  await client.tab.body('screen', 'goodnight');
  await companion.tab.body('screen', 'end');
  assert.match(await companion.tab.shown('#end-reason'), /client fell asleep/);
  const receipt = await server.receipt(call.id);
  assert.equal(receipt.end_reason, 'asleep');
  await client.tab.click('#goodnight-receipt');
  assert.equal((await client.bill()).charge, receipt.charge.amount);
  await client.tab.click('#receipt-page');
  await client.tab.shown('#receipt-promise', /voice began to fade/);
  assert.match(await client.tab.shown('[data-testid=receipt-reason]'), /You fell asleep/);
  const { sleep } = await server.ask('GET', `/calls/${call.id}/record`);
  assert.deepEqual(sleep.lingers.map((/** @type {any} */ linger) => [linger.by, linger.woken_by]), [['companion', 'tap'], ['companion', null]]);

  const vendor = new VendorPage(await scene.tab(await scene.browser(), 'vendor'));
  await vendor.signIn(await server.loginLink());
  await vendor.show('settled');
  await vendor.tab.click('[data-testid=settled-record]');
  assert.match(await vendor.tab.shown('[data-testid=record-sleep]'), /the companion said that the client sleeps.*called off, the client tapped.*began to fade/s);
  const mark = scene.pair.client === 'chromium' && scene.pair.companion === 'chromium' ? '' : '-firefox';
  await look(vendor.tab, 'vendor-record-sleep', { languages: ['en'], mark }); // an open dialog keeps the language button out of reach
}, { everywhere: true });

scene('a client whose voice is heard while it lands stays in the call, without a touch', async (scene) => {
  const server = await scene.server();
  const sold = { kind: 'until_asleep', first_increment_s: 1, increment_s: 1, rate_minor_per_min: 600, cap_minor: 6000, currency: 'CNY', linger_s: 2, fade_s: 120 };
  const call = await server.sell({ sold, credit: 6000, media: 'audio', plan: '陪到睡着' });
  const { client, companion } = await scene.live(call);
  await client.tab.click('#mute');
  await companion.tab.shown('#sleep-why', /microphone is muted/);
  await companion.tab.click('#says-asleep');
  await client.tab.body('phase', 'landing');

  // As by the switch of a headset: nothing on the page is touched. From now on her voice is heard.
  await client.tab.evaluate(() => document.getElementById('mute')?.click());
  await client.tab.body('phase', 'listening');
  await companion.tab.body('phase', 'listening');
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await client.hangUp();
  await client.end();
  await server.receipt(call.id);
  const { sleep } = await server.ask('GET', `/calls/${call.id}/record`);
  assert.deepEqual(sleep.lingers.map((/** @type {any} */ linger) => [linger.by, linger.woken_by]), [['companion', 'speech']]);
}, { everywhere: true, speaks: true });

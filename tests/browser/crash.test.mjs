// The server is killed in the middle of a call: the pages come back by themselves, into the same call, and the gap costs nothing.

import assert from 'node:assert/strict';
import { until } from './patience.mjs';
import { CLIENT_HZ, COMPANION_HZ, scene } from './scene.mjs';
import { hears } from './sound.mjs';

scene('a call goes on after the server was killed, and nobody has to do anything', async (scene) => {
  const server = await scene.server();
  const call = await server.sell({ media: 'audio' });
  const { client, companion } = await scene.live(call);
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await until('a proof of the call', async () => (await server.call(call.id)).delivered_ms > 7000);

  const killed = performance.now();
  await server.crash();
  const { state, paused_by } = await server.call(call.id);
  assert.equal(state, 'paused');
  assert.equal(paused_by, 'platform');
  await hears(client.tab, { hears: COMPANION_HZ, notHears: CLIENT_HZ });
  await hears(companion.tab, { hears: CLIENT_HZ, notHears: COMPANION_HZ });
  const gone_ms = Math.round(performance.now() - killed);
  console.log(`heard again after ${gone_ms} ms`);
  await client.tab.body('state', 'live');
  await companion.tab.body('state', 'live');
  await server.ask('POST', `/calls/${call.id}/end`);
  const record = await until('the record', () => server.ask('GET', `/calls/${call.id}/record`));
  const kinds = record.segments.map((/** @type {{ kind: string }} */ segment) => segment.kind);
  assert.deepEqual(kinds, ['delivered', 'paused_platform', 'delivered']);
});

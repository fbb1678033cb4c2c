// Looking at a screen as it stands: pictures of it in both languages, at the size of a phone and of a desk, nothing wider than its window
// and nothing that axe objects to. The pictures are for people to look at; they are left in tests/browser/shots.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './server.mjs';

export const SHOTS = path.resolve(process.env.SHOTS ?? path.join(ROOT, 'tests/browser/shots'));
export const PHONE = { name: 'phone', width: 390, height: 844 };
export const DESK = { name: 'desk', width: 1280, height: 800 };

mkdirSync(SHOTS, { recursive: true });

/**
 * Takes the pictures of a screen as it stands and holds it to axe.
 * @param {import('./browser.mjs').Tab} tab
 * @param {string} screen its name; `-firefox` and the like behind it tell pictures of other browsers apart
 * @param {{ languages?: string[], mark?: string, sizes?: typeof PHONE[], at?: string }} [how] `at`: what is scrolled to before each picture
 */
export async function look(tab, screen, { languages = ['en', 'zh'], mark = '', sizes = [PHONE, DESK], at } = {}) {
  /** @type {string[]} */
  const faults = [];
  for (const language of languages) {
    const now = await tab.evaluate(() => document.documentElement.lang);
    if (!now.startsWith(language)) await tab.click('#language');
    for (const size of sizes) {
      await tab.resize(size);
      if (at) await tab.evaluate((at) => document.querySelector(at)?.scrollIntoView({ block: 'start' }), at);
      await tab.picture(path.join(SHOTS, `${screen}-${size.name}-${language}${mark}.png`));
      const tooWide = await tab.tooWide();
      if (tooWide > 0) faults.push(`${screen} ${size.name} ${language}: ${tooWide} px too wide`);
      // It takes longest: what a size or a language changes is seen once.
      if (size !== sizes[0] && language !== languages[0]) continue;
      for (const violation of await tab.violations()) faults.push(`${screen} ${size.name} ${language}: ${violation}`);
    }
  }
  if (languages.length > 1) await tab.click('#language'); // back to English
  await tab.resize(PHONE);
  assert.deepEqual(faults, []);
}

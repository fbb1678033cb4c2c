// Real browsers from the system, each its own process with its own voice, and one small way to use a tab of either.
//
// Chromium is driven by Playwright, Firefox by Puppeteer over WebDriver BiDi. Nothing here is put into a page as a script element: the
// pages' content security policy stands as it is in use. (Measuring looks on by `observe`, which no policy sees.) A browser takes seconds
// to start, so tests share it, each as a new person.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';
import { writeCamera } from './camera.mjs';
import { until } from './patience.mjs';
import { NullSpeaker, writeVoice } from './sound.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The pitch of Firefox' built-in test microphone, where no other is asked for. */
export const FIREFOX_HZ = 1000;

const PHONE = { width: 390, height: 844 };
const CLOSE_WITHIN_MS = 15_000;

/** @typedef {{ width: number, height: number }} Size */

/** @typedef {'chromium' | 'firefox'} Kind */

/**
 * @typedef {object} Voice
 * @property {number} [hz] the pitch it speaks at
 * @property {boolean} [trusting] any certificate will do, as after a person said yes to the warning
 * @property {boolean} [shy] whoever sits before it lets no page have microphone or camera
 */

/**
 * @typedef {object} Place
 * @property {string} [within] the network namespace it lives in
 * @property {string} [secure] an origin without HTTPS that gets a microphone all the same
 * @property {Parameters<typeof writeCamera>[1]} [camera] what its camera is like
 * @property {string[]} [args] more words of its command line
 * @property {string[]} [args] more switches
 * @property {() => void} [observe] run in each page before the page's own scripts, to look on
 */

/** A browser with one voice. */
export class Browser {
  /** @type {(() => Promise<unknown> | unknown)[]} */
  #endings = [];
  /** @type {(name: string) => Promise<Tab>} */
  #newTab;
  /** @type {(() => Promise<Browser>) | null} */
  #newPerson = null;

  /** @param {(name: string) => Promise<Tab>} newTab */
  constructor(newTab) {
    this.#newTab = newTab;
  }

  /**
   * @param {Kind} kind
   * @param {Voice & Place} [voice]
   */
  static start(kind, voice) {
    return kind === 'firefox' ? Browser.firefox(voice) : Browser.chromium(voice);
  }

  /**
   * Chromium that speaks at this pitch.
   * @param {Voice & Place} [options]
   */
  static async chromium({ hz = 440, trusting = false, shy = false, within, secure, camera: picture, observe, args = [] } = {}) {
    const folder = mkdtempSync(path.join(tmpdir(), 'chromium-'));
    const wav = path.join(folder, 'voice.wav');
    writeVoice(wav, hz);
    const camera = path.join(folder, 'camera.y4m');
    writeCamera(camera, picture);
    const starter = path.join(folder, 'start');
    writeFileSync(starter, `#!/bin/sh\nexec ${within ? `ip netns exec ${within} ` : ''}${CHROMIUM} "$@"\n`, { mode: 0o755 });
    const chrome = await chromium.launch({
      executablePath: starter,
      headless: true,
      timeout: 90_000,
      args: [
        ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
        ...['--disable-component-update', '--disable-sync', '--use-fake-device-for-media-stream'],
        ...(shy ? [] : ['--use-fake-ui-for-media-stream']),
        `--use-file-for-fake-audio-capture=${wav}`,
        `--use-file-for-fake-video-capture=${camera}`,
        ...args,
        ...(secure ? [`--unsafely-treat-insecure-origin-as-secure=${secure}`] : []),
      ],
    });
    const person = async () => {
      const context = await chrome.newContext({ locale: 'en-US', ignoreHTTPSErrors: trusting, viewport: PHONE });
      if (observe) await context.addInitScript(observe);
      const browser = new Browser(async (name) => new Tab(name, await context.newPage()));
      browser.#endings.push(() => context.close());
      return browser;
    };
    const browser = await person();
    browser.#newPerson = person;
    browser.#endings.push(() => chrome.close(), () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
    return browser;
  }

  /**
   * Firefox that speaks at this pitch. It always takes any certificate: that cannot be told to one of its persons alone.
   * @param {Voice} [voice]
   */
  static async firefox({ hz = FIREFOX_HZ, shy = false } = {}) {
    const speaker = await NullSpeaker.start();
    const firefox = await puppeteer
      .launch({
        browser: 'firefox',
        executablePath: FIREFOX,
        headless: true,
        acceptInsecureCerts: true,
        timeout: 120_000,
        env: { ...process.env, ...speaker.environment },
        extraPrefsFirefox: {
          'intl.accept_languages': 'en-US',
          'media.navigator.streams.fake': true,
          'media.navigator.audio.fake_frequency': hz,
          'media.navigator.permission.disabled': !shy,
          ...(shy && { 'permissions.default.microphone': 2, 'permissions.default.camera': 2 }),
          'media.autoplay.default': 1, // as people have it; the driver's own is to allow all
        },
      })
      .catch(async (error) => {
        await speaker.stop();
        throw error;
      });
    const person = async () => {
      const context = await firefox.createBrowserContext();
      const browser = new Browser(async (name) => {
        // A window each: a tab behind another one is hidden.
        const page = await context.newPage({ type: 'window' });
        await page.setViewport(PHONE);
        return new Tab(name, page);
      });
      browser.#endings.push(() => context.close());
      return browser;
    };
    const close = async () => {
      const overdue = setTimeout(() => firefox.process()?.kill('SIGKILL'), CLOSE_WITHIN_MS); // close() sometimes hangs
      await firefox.close().catch(() => null);
      clearTimeout(overdue);
    };
    const browser = await person();
    browser.#newPerson = person;
    browser.#endings = [close, () => speaker.stop()];
    return browser;
  }

  /**
   * A new tab.
   * @param {string} name whose page it is, for messages
   */
  tab(name) {
    return this.#newTab(name);
  }

  /** Somebody else at the same browser, with storage and cookies of her own; closing it closes her tabs and leaves the browser. */
  async person() {
    if (!this.#newPerson) throw new Error('only a browser has persons');
    return this.#newPerson();
  }

  async close() {
    for (const ending of this.#endings) await ending();
  }
}

/** A tab, with what both drivers can do. */
export class Tab {
  /** What the page wrote to its console and what it threw. @type {string[]} */
  console = [];

  /**
   * @param {string} name
   * @param {import('playwright-core').Page | import('puppeteer-core').Page} page
   */
  constructor(name, page) {
    this.name = name;
    // The two agree in what is used here, but not in their types.
    this.page = /** @type {any} */ (page);
    this.page.on('console', (/** @type {any} */ message) => this.console.push(`${message.type()}: ${message.text()}`));
    this.page.on('pageerror', (/** @type {unknown} */ error) => this.console.push(`thrown: ${error}`));
  }

  /** @param {string} url */
  async open(url) {
    await this.page.goto(url, { waitUntil: 'load' });
  }

  async reload() {
    await this.page.reload({ waitUntil: 'domcontentloaded' });
  }

  /**
   * Runs a function in the page before the page's own scripts, from the next load on.
   * @template A
   * @param {(argument: A) => void} run
   * @param {A} [argument]
   */
  async before(run, argument) {
    await (this.page.addInitScript ?? this.page.evaluateOnNewDocument).call(this.page, run, argument);
  }

  /**
   * Lets requests for this path break off, as a line does, whenever `breaks` says so.
   * @param {string} path
   * @param {() => boolean} breaks
   */
  async breaking(path, breaks) {
    const fits = (/** @type {string} */ url) => new URL(url).pathname === path && breaks();
    if (this.page.route) {
      await this.page.route((/** @type {URL} */ url) => url.pathname === path, (/** @type {any} */ route) => (fits(route.request().url()) ? route.abort() : route.continue()));
    } else {
      await this.page.setRequestInterception(true);
      this.page.on('request', (/** @type {any} */ request) => (fits(request.url()) ? request.abort() : request.continue()));
    }
  }

  /**
   * Runs a function in the page.
   * @template A, R
   * @param {(argument: A) => R} read
   * @param {A} [argument]
   * @returns {Promise<Awaited<R>>}
   */
  evaluate(read, argument) {
    return this.page.evaluate(read, argument);
  }

  /**
   * The text of an element, as a person may see it; null where there is none or it is hidden.
   * @param {string} selector
   * @returns {Promise<string | null>}
   */
  text(selector) {
    return this.evaluate((selector) => {
      const element = document.querySelector(selector);
      if (!(element instanceof HTMLElement) || !element.checkVisibility()) return null;
      return (element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? element.value : element.textContent ?? '').trim();
    }, selector);
  }

  /**
   * Waits for a text that is shown and fits.
   * @param {string} selector
   * @param {RegExp} [fits] default: not empty
   */
  shown(selector, fits = /./) {
    return until(`${this.name}: ${selector} shows ${fits}`, async () => {
      const text = await this.text(selector);
      if (text === null || !fits.test(text)) throw new Error(text === null ? 'it is not shown' : `it shows "${text}"`);
      return text || ' ';
    });
  }

  /**
   * Waits for a `data-…` of the body.
   * @param {string} name
   * @param {string} value
   * @param {{ limitMs?: number }} [patience]
   */
  async body(name, value, patience) {
    await until(
      `${this.name}: ${name} is ${value}`,
      async () => {
        const now = await this.evaluate((name) => document.body.dataset[name] ?? '', name);
        if (now !== value) throw new Error(`${name} is "${now}"`);
        return true;
      },
      patience,
    );
  }

  /**
   * Clicks once the element can be clicked.
   * @param {string} selector
   */
  async click(selector) {
    await until(`${this.name}: ${selector} can be clicked`, () =>
      this.evaluate((selector) => {
        const element = document.querySelector(selector);
        return element instanceof HTMLElement && element.checkVisibility() && !element.matches(':disabled');
      }, selector),
    );
    await this.page.click(selector);
  }

  /**
   * Writes into a field, or chooses in a list.
   * @param {string} selector
   * @param {string} value
   */
  async fill(selector, value) {
    const isList = await this.evaluate((selector) => document.querySelector(selector) instanceof HTMLSelectElement, selector);
    if (isList) await (this.page.selectOption ?? this.page.select).call(this.page, selector, value);
    else if (this.page.fill) await this.page.fill(selector, value);
    else await this.page.locator(selector).fill(value);
  }

  /**
   * Presses a key where the focus is.
   * @param {string} key
   */
  async press(key) {
    await this.page.keyboard.press(key);
  }

  /**
   * Walks with the tab key until the focus is on an element, as somebody without a mouse does.
   * @param {string} selector
   */
  async tabTo(selector) {
    for (let presses = 0; presses < 60; presses += 1) {
      // Behind the last element Firefox leaves the page for its own buttons, where keys do other things.
      if (await this.evaluate((selector) => document.hasFocus() && document.activeElement?.matches(selector), selector)) return;
      await this.press('Tab');
    }
    throw new Error(`${this.name}: 60 presses of Tab do not lead to ${selector}`);
  }

  /** @param {Size} size */
  async resize(size) {
    await (this.page.setViewportSize ?? this.page.setViewport).call(this.page, size);
  }

  /** @param {string} file PNG */
  async picture(file) {
    await this.page.screenshot({ path: file });
  }

  /** Shows the page as it is printed. */
  async onPaper() {
    if (this.page.emulateMedia) await this.page.emulateMedia({ media: 'print' });
    else await this.page.emulateMediaType('print');
  }

  /** How many pixels the page is wider than its window. */
  tooWide() {
    return this.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  }

  /**
   * What axe has to say against the page as it stands.
   * @returns {Promise<string[]>}
   */
  async violations() {
    await this.page.evaluate(`if (!globalThis.axe) { ${AXE} }`);
    return this.evaluate(async () => {
      const { axe } = /** @type {{ axe: { run(): Promise<{ violations: { id: string, help: string, nodes: { html: string }[] }[] }> } }} */ (
        /** @type {unknown} */ (globalThis)
      );
      const { violations } = await axe.run();
      return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
    });
  }

  async close() {
    await this.page.close();
  }
}

// The pages as the people who use them see them: what can be read and done there. Selectors stand here and nowhere else;
// each page's HTML lists them at its top.

import assert from 'node:assert/strict';
import { until } from './patience.mjs';

/** @typedef {import('./browser.mjs').Tab} Tab */

/** What both parties' pages have. */
class CallPage {
  /** @param {Tab} tab */
  constructor(tab) {
    this.tab = tab;
  }

  /** What the countdown shows, in seconds. */
  async countdown() {
    const text = await this.tab.shown('#countdown', /^(\d+:)?\d+:\d\d$/);
    return text.split(':').reduce((seconds, part) => seconds * 60 + Number(part), 0);
  }

  /** Waits until the picture of the other side is there and moves: several different frames were decoded and shown. */
  async seesPicture() {
    /** @type {Set<string>} */
    const seen = new Set();
    await until(`${this.tab.name} sees the other move`, async () => {
      const frame = await this.tab.evaluate(() => {
        const video = document.querySelector('#remote-video');
        if (!(video instanceof HTMLVideoElement) || !video.checkVisibility() || video.videoWidth === 0) return null;
        // Counters of decoded frames stay at 0 in Firefox for a live stream; the pixels do not lie.
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [64, 48];
        const pen = canvas.getContext('2d');
        pen?.drawImage(video, 0, 0, 64, 48);
        const pixels = pen?.getImageData(0, 0, 64, 48).data ?? [];
        return pixels.some((value, index) => index % 4 !== 3 && value > 16) ? Array.from(pixels).join() : null;
      });
      if (frame) seen.add(frame);
      if (seen.size < 4) throw new Error(`${seen.size} different frames`);
      return true;
    });
  }

  /** Hangs up and says yes. */
  async hangUp() {
    await this.tab.click('#hang-up');
    await this.tab.click('#hang-up-yes');
  }

  /** Waits for the end and gives the reason as the page words it. */
  async end() {
    await this.tab.body('screen', 'end');
    return this.tab.shown('#end-reason');
  }

  /** The sentence of the page that has no part in a call. */
  async problem() {
    await this.tab.body('screen', 'problem');
    return this.tab.shown('#problem-text');
  }

  /** Reloads and waits until the page is back in its call. */
  reload() {
    return this.tab.reload();
  }
}

export class ClientPage extends CallPage {
  /** @param {string} url */
  async open(url) {
    await this.tab.open(url);
    await this.tab.body('screen', 'check');
  }

  async join() {
    await this.tab.click('#join');
    await this.tab.body('screen', 'call');
  }

  /** What a metered call has cost so far, as the page words it. */
  spent() {
    return this.tab.shown('#spent', /\d/);
  }

  /** Buys one more block, or tops up. */
  extend() {
    return this.tab.click('#extend');
  }

  /** The wallet, as the page words it. */
  balance() {
    return this.tab.shown('#extend-note', /\d/);
  }

  /** What the end screen says of the money; waits for the receipt. */
  async bill() {
    await this.tab.body('screen', 'end');
    return {
      charge: money(await this.tab.shown('#end-charge', /\d/)),
      refund: money(await this.tab.shown('#end-refund', /\d/)),
      receipt: await this.tab.shown('#receipt', /\d/),
    };
  }
}

export class CompanionPage extends CallPage {
  /** @param {string} url */
  async open(url) {
    await this.tab.open(url);
    await this.tab.body('screen', 'ring');
  }

  async accept() {
    await this.tab.click('#accept');
    await this.tab.body('screen', 'call');
  }

  /** @param {1 | 5 | 10} minutes */
  give(minutes) {
    return this.tab.click(`#gift-${minutes}`);
  }

  /** Reports abuse: a short tap asks, then yes. */
  async report() {
    await this.tab.click('#report');
    await this.tab.click('#report-yes');
  }

  /** What she earned by the end screen, in minor units; waits for the statement. */
  async earned() {
    await this.tab.body('screen', 'end');
    return money(await this.tab.shown('#end-earned', /\d/));
  }
}

export class VendorPage {
  /** @param {Tab} tab */
  constructor(tab) {
    this.tab = tab;
  }

  /**
   * Opens a login link.
   * @param {string} link
   */
  async signIn(link) {
    await this.tab.open(link);
    await this.tab.body('screen', 'home');
  }

  /** @param {'live' | 'settled' | 'setup' | 'credit'} view */
  async show(view) {
    await this.tab.click(`#show-${view}`);
    await this.tab.body('view', view);
  }

  /** @param {{ name: string, seconds: number, price: string, grade?: string }} plan `price` as a person writes it: "20" */
  async makePlan({ name, seconds, price, grade = '' }) {
    await this.show('setup');
    await this.tab.fill('#plan-name', name);
    await this.tab.fill('#plan-length', String(seconds));
    await this.tab.fill('#plan-unit', '1');
    await this.tab.fill('#plan-price', price);
    await this.tab.fill('#plan-grade', grade);
    await this.tab.click('#plan-submit');
    await this.tab.shown('#plan-note');
  }

  /**
   * Makes a plan by the minute, counted by the second.
   * @param {{ name: string, rate: string, hold: string }} plan amounts as a person writes them
   */
  async makeMeteredPlan({ name, rate, hold }) {
    await this.show('setup');
    await this.tab.fill('#plan-name', name);
    await this.tab.fill('#plan-kind', 'per_minute');
    await this.tab.fill('#plan-rate', rate);
    await this.tab.fill('#plan-count', '1/1');
    await this.tab.fill('#plan-hold', hold);
    await this.tab.click('#plan-submit');
    await this.tab.shown('#plan-note');
  }

  /**
   * Makes a plan until asleep with two rates a day.
   * @param {{ name: string, day: string, night: string, cap: string }} plan amounts as a person writes them
   */
  async makeNightPlan({ name, day, night, cap }) {
    await this.show('setup');
    await this.tab.fill('#plan-name', name);
    await this.tab.fill('#plan-kind', 'until_asleep');
    await this.tab.click('#plan-by-time');
    const rows = [['day', '08:00', '23:00', day], ['night', '23:00', '08:00', night]];
    for (const [at, [label = '', start = '', end = '', rate = '']] of rows.entries()) {
      const row = `#plan-windows li:nth-child(${at + 1})`;
      await this.tab.fill(`${row} [data-testid=window-label]`, label);
      await this.tab.fill(`${row} [data-testid=window-start]`, start);
      await this.tab.fill(`${row} [data-testid=window-end]`, end);
      await this.tab.fill(`${row} [data-testid=window-rate]`, rate);
    }
    await this.tab.fill('#plan-zone', 'Asia/Shanghai');
    await this.tab.fill('#plan-hold', cap);
    await this.tab.fill('#plan-cap-hours', '8.75');
  }

  /** @param {{ name: string, grade?: string }} companion */
  async makeCompanion({ name, grade = '' }) {
    await this.show('setup');
    await this.tab.fill('#companion-name', name);
    await this.tab.fill('#companion-grade', grade);
    await this.tab.click('#companion-submit');
    await this.tab.shown('#companion-note');
  }

  /** @param {{ client: string, amount: string, order: string }} payment `amount` as a person writes it */
  async credit({ client, amount, order }) {
    await this.show('credit');
    await this.tab.fill('#credit-client', client);
    await this.tab.fill('#credit-amount', amount);
    await this.tab.fill('#credit-order', order);
    await this.tab.click('#credit-submit');
    await this.tab.shown('#credit-note');
  }

  /**
   * Makes a call of the first plan with the first companion and gives both links.
   * @param {{ client: string, name?: string, media?: 'audio' | 'video' }} call
   */
  async makeCall({ client, name = '', media = 'audio' }) {
    await this.show('live');
    await this.tab.fill('#call-client', client);
    await this.tab.fill('#call-name', name);
    await this.tab.fill('#call-media', media);
    await this.tab.click('#call-submit');
    return { client: { url: await this.tab.shown('#link-client', /#/) }, companion: { url: await this.tab.shown('#link-companion', /#/) } };
  }

  /**
   * Withdraws a party's link, which is shown, and says yes; gives what the page says and the new link.
   * @param {'client' | 'companion'} party
   */
  async renewLink(party) {
    await this.tab.click(`#renew-${party}`);
    await this.tab.click('#confirm-yes');
    return { said: await this.tab.shown(`#renew-${party}-note`), url: await this.tab.shown(`#link-${party}`, /#/) };
  }

  /** The one call on the live board: its id, once it shows this state. @param {string} state */
  async onBoard(state) {
    const id = await until(`the board shows a call that is ${state}`, () =>
      this.tab.evaluate((state) => {
        const card = document.querySelector(`[data-testid=call][data-state=${state}]`);
        return card instanceof HTMLElement ? card.dataset.id : undefined;
      }, state),
    );
    return { id, left: await this.tab.shown('[data-testid=call-left]', /\d/) };
  }

  /** Ends the one call on the board and says yes. */
  async endCall() {
    await this.tab.click('[data-testid=call] [data-testid=call-end]');
    await this.tab.click('#confirm-yes');
  }

  /**
   * Gives back some of the newest settled call; gives what its card then says.
   * @param {{ amount: string, reason: string, from?: 'shares' | 'vendor' }} refund `amount` as a person writes it
   */
  async refund({ amount, reason, from = 'shares' }) {
    await this.show('settled');
    await this.tab.click('[data-testid=settled-refund] summary');
    await this.tab.fill('[data-testid=refund-amount]', amount);
    await this.tab.fill('[data-testid=refund-reason]', reason);
    await this.tab.fill('[data-testid=refund-from]', from);
    await this.tab.click('[data-testid=settled-refund-submit]');
  }

  /** Looks a client's wallet up. @param {string} client */
  async wallet(client) {
    await this.show('credit');
    await this.tab.fill('#wallet-client', client);
    await this.tab.click('#wallet-submit');
    return money(await this.tab.shown('[data-testid=wallet-available]', /\d/));
  }

  /**
   * Pays back some of the wallet that is shown.
   * @param {{ amount: string, order: string }} refund
   */
  async payBack({ amount, order }) {
    await this.tab.click('[data-testid=wallet-refund] summary');
    await this.tab.fill('[data-testid=wallet-refund-amount]', amount);
    await this.tab.fill('[data-testid=wallet-refund-order]', order);
    await this.tab.click('[data-testid=wallet-refund-submit]');
  }

  /** Opens the newest receipt and gives its text. */
  async receipt() {
    await this.show('settled');
    await this.tab.click('[data-testid=settled-receipt]');
    return this.tab.shown('#view-body', /\d/);
  }
}

/**
 * Minor units of what a page shows as money of two digits behind the point: "CN¥20.00" is 2000.
 * @param {string} text
 */
export function money(text) {
  const digits = /-?\d[\d,]*(\.\d\d)?/.exec(text)?.[0];
  assert.ok(digits, `money in "${text}"`);
  return Math.round(Number(digits.replaceAll(',', '')) * 100);
}

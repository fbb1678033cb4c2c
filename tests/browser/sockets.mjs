// A page's WebSocket from within the page: what is said on it, how it is cut, a server that refuses. The drivers have no common word for
// sockets, so the class that the page will use is wrapped before its own scripts run.

/** @typedef {import('./browser.mjs').Tab} Tab */
/** @typedef {{ opened: number, said: string[], sdp: string[], cut: () => void }} Tap */

/**
 * Taps the sockets of a page from its next load on.
 * @param {Tab} tab
 */
export async function tap(tab) {
  await tab.before(() => {
    const note = (/** @type {string} */ text) => {
      const { type, sdp } = JSON.parse(text);
      tap.said.push(type);
      if (typeof sdp === 'string') tap.sdp.push(sdp);
    };
    /** @type {Set<WebSocket>} */
    const sockets = new Set();
    let isCut = false;
    /** @type {Tap} */
    const tap = {
      opened: 0,
      said: [],
      sdp: [],
      cut: () => {
        isCut = true;
        for (const socket of sockets) socket.close();
      },
    };
    Object.assign(globalThis, {
      tap,
      WebSocket: class extends WebSocket {
        /** @param {string} url */
        constructor(url) {
          super(isCut ? `${url}/cut` : url); // where nobody answers
          tap.opened += 1;
          sockets.add(this);
          this.addEventListener('message', ({ data }) => note(data));
        }

        /** @param {string} text */
        send(text) {
          note(text);
          super.send(text);
        }
      },
    });
  });
}

/** What a tap noted since the page was loaded: kinds of messages and SDP in both directions, and how often a socket was opened. @param {Tab} tab */
export function tapped(tab) {
  return tab.evaluate(() => {
    const { opened, said, sdp } = /** @type {{ tap: Tap }} */ (/** @type {unknown} */ (globalThis)).tap;
    return { opened, said, sdp };
  });
}

/** Cuts the tapped socket of a page, and lets no other one reach the server. @param {Tab} tab */
export async function cut(tab) {
  await tab.evaluate(() => /** @type {{ tap: Tap }} */ (/** @type {unknown} */ (globalThis)).tap.cut());
}

/**
 * From the page's next load on, plays a server that answers every greeting with this error.
 * @param {Tab} tab
 * @param {string} code
 */
export async function refuse(tab, code) {
  await tab.before((code) => {
    class Refusing {
      static OPEN = 1;
      readyState = 1;
      /** @type {(() => void) | null} */
      onopen = null;
      /** @type {((event: { data: string }) => void) | null} */
      onmessage = null;
      /** @type {(() => void) | null} */
      onclose = null;

      constructor() {
        setTimeout(() => this.onopen?.());
      }

      send() {
        setTimeout(() => {
          this.onmessage?.({ data: JSON.stringify({ v: 1, seq: 0, type: 'error', code, detail: 'played', re: null }) });
          this.onclose?.();
        });
      }

      close() {}
    }
    Object.assign(globalThis, { WebSocket: Refusing });
  }, code);
}

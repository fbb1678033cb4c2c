// A NAT between the browsers and the media port, as in a home router: it can forget who is who, or leave a network dead.

import { createSocket } from 'node:dgram';

/** @typedef {import('node:dgram').Socket} Socket */

/** @returns {Promise<Socket>} on loopback */
function open() {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4').on('error', reject);
    socket.bind(0, '127.0.0.1', () => resolve(socket));
  });
}

export class Nat {
  #inside;
  #server;
  /** By the port of the browser: the socket that speaks for it outside. @type {Map<number, Promise<Socket>>} */
  #bindings = new Map();
  /** Ports of a network that is dead. @type {Set<number>} */
  #dead = new Set();
  /** Sockets of an earlier one are dead. */
  #network = 0;
  #open = true;
  #changedAt = 0;
  #soundAt = 0;

  /**
   * @param {Socket} inside
   * @param {number} server the media port
   */
  constructor(inside, server) {
    this.#inside = inside;
    this.#server = server;
    inside.on('message', async (datagram, { address, port }) => {
      if (this.#dead.has(port)) return;
      (await this.#outside(port, address)).send(datagram, this.#server, '127.0.0.1', () => {}); // what is lost is lost
    });
  }

  /** @param {number} server the media port */
  static async before(server) {
    return new Nat(await open(), server);
  }

  /**
   * Leads a page through this NAT: to it, the server's only address is ours. To be called before the page is opened.
   * @param {import('./browser.mjs').Tab} tab Chromium's
   */
  async lead(tab) {
    const { port } = this.#inside.address();
    await tab.page.routeWebSocket('**/v1/signal', (/** @type {import('playwright-core').WebSocketRoute} */ page) => {
      const server = page.connectToServer();
      const network = this.#network;
      page.onMessage((text) => network === this.#network && server.send(text));
      server.onMessage((text) => {
        if (network !== this.#network) return;
        const message = JSON.parse(String(text));
        if (message.type === 'answer') {
          message.sdp = message.sdp
            .replace(/a=candidate:.* tcp .*\r\n/g, '')
            .replace(/(a=candidate:\d+ 1 udp \d+) \S+ \d+ /g, `$1 127.0.0.1 ${port} `);
        }
        page.send(JSON.stringify(message));
      });
    });
  }

  /** From now on everybody inside has another port outside. */
  forget() {
    this.#bindings = new Map();
    this.#changedAt = performance.now();
    this.#soundAt = 0;
  }

  /** Milliseconds from the last `forget` or `cut` to the first sound that came in after it; 0 before. */
  silence() {
    return this.#soundAt && this.#soundAt - this.#changedAt;
  }

  /** Whatever was used until now leads nowhere, sockets too: the browser has left that network. */
  cut() {
    this.#network += 1;
    for (const port of this.#bindings.keys()) this.#dead.add(port);
    this.forget();
  }

  /**
   * @param {number} port of the browser
   * @param {string} address of the browser: Chromium sends to loopback from the machine's other address
   */
  #outside(port, address) {
    const known = this.#bindings.get(port);
    if (known) return known;
    const made = open().then((socket) => {
      socket.unref(); // one that was forgotten keeps nobody here
      socket.on('message', (datagram) => {
        if (!this.#open || this.#bindings.get(port) !== made) return;
        // RFC 7983: SRTP and SRTCP begin with 128 to 191.
        if (Number(datagram[0]) >= 128) this.#soundAt ||= performance.now();
        this.#inside.send(datagram, port, address, () => {});
      });
      return socket;
    });
    this.#bindings.set(port, made);
    return made;
  }

  close() {
    this.#open = false;
    this.#inside.close();
  }
}

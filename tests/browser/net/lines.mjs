// The networks that are tried: what is wrong with the client's line, both ways, while the companion's and the server's are clear.

/**
 * @typedef {object} Network
 * @property {string} name
 * @property {string} what in a few words, for the table
 * @property {import('./lab.mjs').Terms} terms
 * @property {4 | 6} [family]
 * @property {boolean} [nat] the client is behind a router, which forgets its mappings in mid-call
 */

/** @type {Network[]} */
export const NETWORKS = [
  { name: 'clear', what: 'clear, 20 ms round trip', terms: {} },
  { name: 'loss-1', what: '1 % loss', terms: { loss: 0.01 } },
  { name: 'loss-5', what: '5 % loss', terms: { loss: 0.05 } },
  { name: 'loss-10', what: '10 % loss', terms: { loss: 0.1 } },
  { name: 'loss-20', what: '20 % loss', terms: { loss: 0.2 } },
  // 4.8 % in all.
  { name: 'burst', what: 'bursts: 5 packets lost, 100 pass', terms: { burst: 0.01, mend: 0.2, burst_loss: 1 } },
  { name: 'jitter-50', what: 'jitter: 5 to 105 ms', terms: { jitter: 100 } },
  { name: 'reorder', what: '5 % of packets 40 ms late', terms: { reorder: 0.05, late: 40 } },
  { name: 'rtt-300', what: '300 ms round trip', terms: { delay: 145 } },
  { name: 'narrow-300', what: '300 kbit/s, queue of 300 ms', terms: { rate: 300, queue: 300 } },
  { name: 'nat', what: 'NAT forgets after 12 s', terms: {}, nat: true },
  { name: 'ipv6', what: 'IPv6 only', terms: {}, family: 6 },
];

/**
 * @param {string} name
 * @returns {Network}
 */
export function network(name) {
  const found = NETWORKS.find((network) => network.name === name);
  if (!found) throw new Error(`no network ${name}; there are ${NETWORKS.map(({ name }) => name).join(' ')}`);
  return found;
}

// Money for people: minor units in, text out, and back. No floating point touches an amount.

/** @typedef {import('./call/wire.js').Amount} Amount */

/**
 * Digits behind the decimal point: 2 for CNY, 0 for JPY.
 * @param {string} currency ISO 4217
 * @returns {number}
 */
export function exponent(currency) {
  try {
    return new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2;
  } catch {
    return 2;
  }
}

/**
 * An amount as a plain decimal number.
 * @param {Amount} money
 * @returns {string} like `-0.05` or `2000`
 */
export function decimal(money) {
  const digits = exponent(money.currency);
  const text = String(Math.abs(money.amount)).padStart(digits + 1, '0');
  const sign = money.amount < 0 ? '-' : '';
  return digits === 0 ? sign + text : `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/**
 * An amount for people.
 * @param {Amount} money
 * @param {string} language BCP 47
 * @returns {string}
 */
export function format(money, language) {
  const number = /** @type {Intl.StringNumericLiteral} */ (decimal(money));
  try {
    return new Intl.NumberFormat(language, { style: 'currency', currency: money.currency }).format(number);
  } catch {
    return `${number} ${money.currency}`; // not a currency that this browser knows
  }
}

/**
 * Reads what a person typed.
 * @param {string} text like `20`, `20.5` or `19,90`
 * @param {string} currency ISO 4217
 * @returns {Amount | null} null when it is not an amount above zero that this currency can hold
 */
export function parse(text, currency) {
  const match = /^(\d{1,15})(?:[.,](\d*))?$/.exec(text.trim());
  const code = currency.trim().toUpperCase();
  if (!match || !/^[A-Z]{3}$/.test(code)) return null;
  const digits = exponent(code);
  const fraction = (match[2] ?? '').replace(/0+$/, '');
  if (fraction.length > digits) return null;
  const amount = Number(`${match[1]}${fraction.padEnd(digits, '0')}`);
  return Number.isSafeInteger(amount) && amount > 0 ? { amount, currency: code } : null;
}

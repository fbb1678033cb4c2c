// Small words for the document. Text enters it as text only: nothing here parses markup.

/**
 * The element of this id, which the page's HTML must hold.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return element;
}

/**
 * A new element with attributes and children; strings become text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Sets text only where it differs, so that screen readers and selections are left alone.
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Shows exactly one of the page's screens and moves the focus to its heading.
 * @param {string} name the screen is `#screen-{name}`
 * @param {{ aloud?: boolean }} [how] without `aloud` the focus stays, so that no screen reader speaks up
 */
export function showScreen(name, { aloud = true } = {}) {
  if (document.body.dataset.screen === name) return;
  document.body.dataset.screen = name;
  for (const screen of document.querySelectorAll('[id^="screen-"]')) {
    if (screen instanceof HTMLElement) screen.hidden = screen.id !== `screen-${name}`;
  }
  const heading = document.querySelector(`#screen-${name} h1`);
  if (aloud && heading instanceof HTMLElement) heading.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/**
 * Asks in a dialog and answers whether the person confirmed. The dialog's buttons are `value="yes"` and `value="no"`.
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<boolean>}
 */
export function ask(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = 'no';
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
    dialog.showModal();
  });
}

// A button that acts when it is held for a second, by finger, mouse or key; a short tap asks first.

const HOLD_MS = 1_000;

/**
 * @param {HTMLButtonElement} button
 * @param {{ held: () => void, tapped: () => void }} listener
 */
export function onHold(button, { held, tapped }) {
  let timer = 0;
  let done = false;

  const begin = () => {
    if (timer || button.disabled) return;
    done = false;
    button.classList.add('holding');
    timer = setTimeout(() => {
      done = true;
      stop();
      held();
    }, HOLD_MS);
  };
  const stop = () => {
    clearTimeout(timer);
    timer = 0;
    button.classList.remove('holding');
  };

  button.addEventListener('pointerdown', (event) => event.button === 0 && begin());
  for (const name of ['pointerup', 'pointercancel', 'pointerleave', 'blur']) button.addEventListener(name, stop);
  button.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    // Enter would click at once and again with every repeat: the key acts like a finger instead.
    event.preventDefault();
    begin();
  });
  button.addEventListener('keyup', (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    const short = timer !== 0;
    stop();
    if (short) tapped();
  });
  button.addEventListener('contextmenu', (event) => event.preventDefault()); // a long press on a phone
  button.addEventListener('click', () => {
    if (!done) tapped();
    done = false;
  });
}

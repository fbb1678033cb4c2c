// Keeps the screen on during a call, where the browser can. Losing the lock harms nothing by itself: the voice goes on in the dark; but a
// phone that locks itself may take the microphone away, so a page can ask whether the screen is held.

/** @type {WakeLockSentinel | null} */
let lock = null;
let wanted = false;
let refused = false;
let asking = false;
let changed = () => {};

/** This browser can keep a screen on. */
export const canHold = 'wakeLock' in navigator;

/** The screen may go off by itself though it should not. */
export function isLost() {
  return wanted && (!canHold || refused);
}

/** @param {() => void} listener is called when that changed */
export function onWake(listener) {
  changed = listener;
}

/** Asks for the lock, if it is wanted and not there: another look at the page or a touch may get what was refused before. */
export async function take() {
  if (!wanted || lock || asking || document.visibilityState !== 'visible' || !canHold) return;
  asking = true;
  try {
    const taken = await navigator.wakeLock.request('screen');
    lock = taken;
    refused = false;
    taken.addEventListener('release', () => {
      if (lock === taken) lock = null;
      void take(); // the browser takes it back whenever the page is hidden, and to save power from one that is looked at
    });
    if (!wanted) await release();
  } catch {
    refused = true; // low battery or not allowed
  }
  asking = false;
  changed();
}

document.addEventListener('visibilitychange', () => void take());

/** Keeps the screen on from now on. */
export function hold() {
  wanted = true;
  void take();
}

/** Lets the screen sleep again. */
export async function release() {
  wanted = false;
  await lock?.release();
  lock = null;
}

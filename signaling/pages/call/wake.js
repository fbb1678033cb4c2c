// Keeps the screen on during a call, where the browser can. Losing the lock harms nothing: the voice goes on in the dark.

/** @type {WakeLockSentinel | null} */
let lock = null;
let wanted = false;

async function take() {
  if (!wanted || lock || document.visibilityState !== 'visible' || !('wakeLock' in navigator)) return;
  try {
    lock = await navigator.wakeLock.request('screen');
    lock.addEventListener('release', () => {
      lock = null; // the browser takes it back whenever the page is hidden
    });
    if (!wanted) await release();
  } catch {
    lock = null; // low battery or not allowed
  }
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

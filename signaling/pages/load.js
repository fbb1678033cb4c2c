// Sees to it that the page loads whole. A module that does not come (the network changed at that moment) would leave the page at its first
// words for ever, so it is loaded anew by itself, a few times, and then it says so with a button. A script of its own kind, before the
// modules: it needs none of them, and nothing else knows of it.
{
  const COUNT = 'lull.loads';
  /** Waits before the page is loaded anew; then a person is asked. */
  const WAITS_MS = [1_000, 3_000, 8_000];
  /** Both languages: the texts may be what did not come. */
  const WORDS = {
    en: { title: 'That did not load', text: 'A part of this page did not come. Check the network, then try again: nothing is lost.', button: 'Try again' },
    zh: { title: '页面没有加载完', text: '页面有一部分没有加载。请检查网络后重试，不会丢失任何内容。', button: '重试' },
  };

  let broken = false;

  const count = () => {
    try {
      return Number(sessionStorage.getItem(COUNT) ?? 0);
    } catch {
      return WAITS_MS.length; // storage is forbidden: nobody can count, so a person is asked at once
    }
  };

  /** @param {number} loads */
  const keep = (loads) => {
    try {
      if (loads > 0) sessionStorage.setItem(COUNT, String(loads));
      else sessionStorage.removeItem(COUNT);
    } catch {
      // as above
    }
  };

  /** With what stands behind the `#`. Where the page came up all the same (it lacks its looks, say), nothing is taken from it. */
  const again = () => {
    if (document.body?.dataset.screen === undefined || document.body.dataset.screen === 'opening') location.reload();
  };

  /** Without a network the browser's own error page would come, and stay. */
  const soon = () => (navigator.onLine ? again() : addEventListener('online', again, { once: true }));

  const ask = () => {
    const wish = new URLSearchParams(location.search).get('lang') ?? navigator.language;
    const words = wish.toLowerCase().startsWith('zh') ? WORDS.zh : WORDS.en;
    const place = document.querySelector('#screen-opening') ?? document.querySelector('main') ?? document.body;
    const title = place.querySelector('h1');
    if (title) title.textContent = words.title;
    const text = document.createElement('p');
    text.id = 'load-text';
    text.setAttribute('role', 'alert');
    text.append(words.text);
    const button = document.createElement('button');
    Object.assign(button, { id: 'load-again', className: 'main', type: 'button', textContent: words.button });
    button.addEventListener('click', () => {
      keep(0);
      again();
    });
    place.querySelector('.stuck')?.remove();
    document.querySelector('#language')?.setAttribute('hidden', ''); // nobody hears it
    place.append(text, button);
    addEventListener('online', again);
  };

  const failed = () => {
    if (broken) return;
    broken = true;
    document.documentElement.dataset.load = 'failed';
    const loads = count();
    const wait = WAITS_MS[loads];
    if (wait === undefined) {
      if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', ask);
      else ask();
      return;
    }
    keep(loads + 1);
    setTimeout(soon, wait);
  };

  // Such errors do not bubble.
  addEventListener('error', ({ target }) => {
    const isPart = target instanceof HTMLScriptElement || (target instanceof HTMLLinkElement && target.rel === 'stylesheet');
    if (isPart) failed();
  }, { capture: true });
  addEventListener('load', () => {
    if (!broken) keep(0);
  });
}

// The recordings of a call, for the vendor alone: who is on each, until when it is kept, taking it away as a file, deleting it before its day.

import { make, setText } from '../dom.js';
import { t, tLength, tTime, tWord } from '../i18n.js';
import { get, remove } from './api.js';
import { confirmed, words } from './form.js';

/**
 * @typedef {object} Recorded
 * @property {string} id
 * @property {'client' | 'companion'} side
 * @property {string} started_at
 * @property {number} length_ms
 * @property {number} bytes
 * @property {string} delete_at
 * @property {string} state
 */

/** There is sound that can be taken away. */
const WHOLE = new Set(['kept', 'finished', 'stopped', 'ready', 'done']);
const MEGABYTE = 1_000_000;

/** Draws a call's recordings. @param {HTMLElement} place @param {string} call its id */
export async function drawRecordings(place, call) {
  /** @type {{ data: Recorded[] }} */
  const { data } = await get(`/calls/${call}/recordings`);
  const items = data.map((one) => item(one, () => drawRecordings(place, call)));
  place.replaceChildren(items.length ? make('ul', { class: 'names' }, ...items) : make('p', {}, t('recordings_none')));
}

/** @param {Recorded} one @param {() => Promise<void>} again */
function item(one, again) {
  const state = make('p', { class: 'hint' }, tWord(`recording_state_${one.state}`, 'recording_state_other'));
  const size = t('recording_size', { size: (one.bytes / MEGABYTE).toFixed(1) });
  const facts = [tTime(one.started_at), tLength(Math.round(one.length_ms / 1000)), size].join(' · ');
  const note = make('p', { class: 'call-note', role: 'status', 'data-testid': 'recording-note' });
  const download = make('a', { class: 'button', href: `/v1/recordings/${one.id}`, download: `${one.id}.wav`, 'data-testid': 'recording-download' }, t('recording_download'));
  const gone = make('button', { type: 'button', class: 'danger', 'data-testid': 'recording-delete' }, t('recording_delete'));
  gone.addEventListener('click', async () => {
    if (!(await confirmed({ title: t('recording_delete_title'), text: t('recording_delete_text'), no: t('hook_no'), yes: t('recording_delete'), kind: 'danger' }))) return;
    gone.disabled = true;
    try {
      await remove(`/recordings/${one.id}`);
      await again();
    } catch (error) {
      gone.disabled = false;
      setText(note, words(error));
    }
  });
  const there = WHOLE.has(one.state);
  return make('li', { class: 'recording-item', 'data-testid': 'recording', 'data-state': one.state },
    make('h3', {}, t(one.side === 'client' ? 'recording_of_client' : 'recording_of_companion')),
    make('p', {}, facts), state,
    make('p', { class: 'hint' }, t('recording_until', { at: tTime(one.delete_at) })), note,
    ...(there ? [make('div', { class: 'controls' }, download, gone)] : []));
}

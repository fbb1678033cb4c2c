// The recordings of a call, for the vendor alone: who is on each, until when it is kept, taking it away as a file, deleting it before its day.

import { make, setText } from '../dom.js';
import { t, tLength, tTime, tWord } from '../i18n.js';
import { get, remove } from './api.js';
import { confirmed, words } from './form.js';

/**
 * @typedef {object} Recorded one side of one part
 * @property {string} id
 * @property {'client' | 'companion'} party
 * @property {number} part
 * @property {'recording' | 'closing' | 'kept' | 'deleting' | 'deleted'} state
 * @property {string} started_at
 * @property {string | null} end_reason
 * @property {number | null} length_ms
 * @property {number | null} bytes
 * @property {string} delete_at
 * @property {string | null} deleted_at
 * @property {string | null} fault what keeps its file from being found or removed
 */

const MEGABYTE = 1_000_000;

/** Draws a call's recordings. @param {HTMLElement} place @param {string} call its id */
export async function drawRecordings(place, call) {
  const { items } = /** @type {import('./api.js').List<Recorded>} */ (await get(`/calls/${call}/recordings`));
  const rows = items.map((one) => row(one, () => drawRecordings(place, call)));
  place.replaceChildren(rows.length ? make('ul', { class: 'names' }, ...rows) : make('p', {}, t('recordings_none')));
}

/** @param {Recorded} one @param {() => Promise<void>} again */
function row(one, again) {
  const size = one.bytes === null ? null : t('recording_size', { size: (one.bytes / MEGABYTE).toFixed(1) });
  const length = one.length_ms === null ? null : tLength(Math.round(one.length_ms / 1000));
  const ended = one.end_reason && tWord(`recording_ended_${one.end_reason}`, 'recording_ended_failed');
  const until = one.deleted_at ? t('recording_gone', { at: tTime(one.deleted_at) }) : t('recording_until', { at: tTime(one.delete_at) });
  const note = make('p', { class: 'call-note', role: 'status', 'data-testid': 'recording-note' });
  const download = make('a', { class: 'button', href: `/v1/recordings/${one.id}`, download: `${one.id}.wav`, 'data-testid': 'recording-download' }, t('recording_download'));
  const gone = make('button', { type: 'button', class: 'danger', 'data-testid': 'recording-delete' }, t('recording_delete'));
  gone.addEventListener('click', async () => {
    const question = { title: t('recording_delete_title'), text: t('recording_delete_text'), no: t('hook_no'), yes: t('recording_delete') };
    if (!(await confirmed({ ...question, kind: 'danger' }))) return;
    gone.disabled = true;
    try {
      await remove(`/recordings/${one.id}`);
      await again();
    } catch (error) {
      gone.disabled = false;
      setText(note, words(error));
    }
  });
  return make('li', { class: 'recording-item', 'data-testid': 'recording', 'data-state': one.state },
    make('h3', {}, t(one.party === 'client' ? 'recording_of_client' : 'recording_of_companion', { part: one.part })),
    make('p', {}, [tTime(one.started_at), length, size].filter(Boolean).join(' · ')),
    make('p', { class: 'hint' }, [t(`recording_state_${one.state}`), ended, until].filter(Boolean).join(t('joint'))),
    ...(one.fault ? [make('p', { class: 'trouble' }, t('recording_fault', { fault: one.fault }))] : []),
    note,
    ...(one.state === 'kept' ? [make('div', { class: 'controls' }, download, gone)] : []));
}

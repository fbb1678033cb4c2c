// The recordings of a call, for the vendor alone: who is on each, until when it is kept, taking it away as a file, deleting it before its day.
// And what its record says of it: who agreed when, and which parts there were.

import { make, setText } from '../dom.js';
import { t, tLength, tTime, tWord } from '../i18n.js';
import { get, reach, remove } from './api.js';
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

/**
 * @typedef {object} Consented what a call's record says of recording it
 * @property {number} keep_days
 * @property {{ party: 'client' | 'companion', yes: boolean, at: string }[]} consents
 * @property {{ part: number, started_at: string, ended_at: string | null, end_reason: string | null }[]} parts
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
  download.addEventListener('click', async (event) => {
    // A link that is refused shows nothing, or the browser's own words.
    event.preventDefault();
    try {
      await reach(`/recordings/${one.id}`);
      setText(note, '');
      location.assign(download.href);
    } catch (error) {
      setText(note, words(error));
    }
  });
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
    // One that was left open cannot be heard, but it can go.
    ...(one.state === 'kept' || one.state === 'closing' ? [make('div', { class: 'controls' }, ...(one.state === 'kept' ? [download] : []), gone)] : []));
}

/** @param {Consented['parts'][number]} part */
function partWords({ part, started_at, ended_at, end_reason }) {
  const from = tTime(started_at);
  const lasted = ended_at ? t('recorded_part', { part, from, to: tTime(ended_at) }) : t('recorded_part_open', { part, from });
  return [lasted, end_reason && tWord(`recording_ended_${end_reason}`, 'recording_ended_failed')].filter(Boolean).join(t('joint'));
}

/**
 * The section of a record; none of a call that could not be recorded.
 * @param {{ recording?: Consented | null }} record
 */
export function recordedOf({ recording }) {
  if (!recording) return [];
  const said = recording.consents.map(({ party, yes, at }) => t(`recorded_${party}_${yes ? 'yes' : 'no'}`, { at: tTime(at) }));
  const parts = recording.parts.map(partWords);
  const items = [...said, ...parts].map((line) => make('li', {}, line));
  return [make('section', { class: 'stack', 'data-testid': 'record-recording' },
    make('h3', {}, t('recorded_title')),
    ...(items.length ? [make('ul', { class: 'names' }, ...items)] : []),
    ...(parts.length ? [] : [make('p', {}, t('recordings_none'))]),
    make('p', { class: 'hint' }, t(recording.keep_days === 1 ? 'recorded_terms_day' : 'recorded_terms', { days: recording.keep_days })))];
}

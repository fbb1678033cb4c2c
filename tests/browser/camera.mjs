// What a test's camera sees: somebody at home in the evening, drawn here, swaying a little so that no two frames are alike.
// Chromium's own test picture is a shrill green that no screen can be judged by.

import { writeFileSync } from 'node:fs';

const [WIDTH, HEIGHT, FRAMES] = [640, 360, 24];

/** Between 0 and 1 over a soft edge. @param {number} from @param {number} to @param {number} x */
function step(from, to, x) {
  const t = Math.min(1, Math.max(0, (x - from) / (to - from)));
  return t * t * (3 - 2 * t);
}

/**
 * The colour at a point: a wall, a lamp's light on it, and in front of both somebody's outline.
 * @param {number} x from 0 to 16/9
 * @param {number} y from 0 to 1, downwards
 * @param {number} sway
 * @returns {[number, number, number]} red, green, blue, 0 to 1
 */
function colour(x, y, sway) {
  const lamp = Math.exp(-((x - 0.42) ** 2 + (y - 0.3) ** 2) * 5);
  const bulb = 1 - step(0.075, 0.1, Math.hypot(x - 0.42, (y - 0.3) * 1.15));
  const wall = [0.2 + 0.62 * lamp, 0.13 + 0.4 * lamp, 0.11 + 0.2 * lamp];
  const middle = 1.02 + sway;
  const head = 1 - step(0.148, 0.156, Math.hypot(x - middle, (y - 0.42) * 0.84));
  const neck = (1 - step(0.06, 0.068, Math.abs(x - middle))) * step(0.5, 0.52, y);
  const body = 1 - step(0.33, 0.34, Math.hypot(x - (middle - sway / 2), (y - 1.0) * 1.02));
  const person = Math.max(head, neck, body);
  const rim = step(0.2, -0.3, x - middle) * 0.5; // the side towards the lamp
  const skin = Math.max(head, neck * (1 - body));
  const own = [0.17 + (0.42 * skin + 0.1) * rim + 0.24 * skin, 0.16 + (0.24 * skin + 0.07) * rim + 0.12 * skin, 0.21 + 0.12 * skin * rim];
  return /** @type {[number, number, number]} */ (
    [0, 1, 2].map((c) => {
      const behind = (wall[c] ?? 0) * (1 - bulb) + (([1, 0.9, 0.68])[c] ?? 0) * bulb;
      return behind * (1 - person) + (own[c] ?? 0) * person;
    })
  );
}

/** By frames a second and grain. @type {Map<string, Buffer>} */
const drawn = new Map();

/**
 * Writes a sway of it as Y4M, which Chromium repeats.
 * @param {string} file
 * @param {{ fps?: number, grain?: number }} [camera] `grain`: how far pixels stray in the dark, of 255; it is what real cameras' bits go into
 */
export function writeCamera(file, { fps = 12, grain = 0 } = {}) {
  const kind = `${fps} ${grain}`;
  const film = drawn.get(kind) ?? draw(fps, grain);
  drawn.set(kind, film);
  writeFileSync(file, film);
}

/** @param {number} fps @param {number} grain */
function draw(fps, grain) {
  let luck = 1;
  const parts = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F${fps}:1 Ip A1:1 C420jpeg\n`)];
  for (let frame = 0; frame < FRAMES; frame += 1) {
    const sway = 0.03 * Math.sin((2 * Math.PI * frame) / FRAMES);
    const luma = Buffer.alloc(WIDTH * HEIGHT);
    const [blue, red] = [Buffer.alloc((WIDTH * HEIGHT) / 4), Buffer.alloc((WIDTH * HEIGHT) / 4)];
    for (let row = 0; row < HEIGHT; row += 1) {
      for (let column = 0; column < WIDTH; column += 1) {
        const [r, g, b] = colour(column / HEIGHT, row / HEIGHT, sway);
        // BT.601, as webcams have it.
        luck = (Math.imul(luck, 1_664_525) + 1_013_904_223) >>> 0; // always the same grain
        luma[row * WIDTH + column] = 16 + 65.5 * r + 128.6 * g + 25 * b + grain * (luck / 2 ** 31 - 1) * (g < 0.99 ? 1 : 0);
        if (row % 2 || column % 2) continue;
        const at = (row / 2) * (WIDTH / 2) + column / 2;
        blue[at] = 128 - 37.8 * r - 74.2 * g + 112 * b;
        red[at] = 128 + 112 * r - 93.8 * g - 18.2 * b;
      }
    }
    parts.push(Buffer.from('FRAME\n'), luma, blue, red);
  }
  return Buffer.concat(parts);
}

// Where the model looks: the maps, fetched once each, and drawing one over a photograph.

import * as api from "./api.js";

// Nine points of the plasma scale (CC0), the same as in reports: dark blue, magenta, orange, yellow.
const SCALE = [
  [13, 8, 135],
  [75, 3, 161],
  [125, 3, 168],
  [168, 34, 150],
  [203, 70, 121],
  [229, 107, 93],
  [248, 148, 65],
  [253, 195, 40],
  [240, 249, 33],
];
const OPACITY = 0.72;
const KEPT = 120;
const maps = new Map();

/** The map of a part for an attribute: {width, height, map, flat}. */
export function lookOf(info, part, attribute, signal) {
  const asked = { index: info.name, part: bare(part, info), attribute };
  const key = JSON.stringify([info.version, asked]);
  if (!maps.has(key)) {
    if (maps.size > KEPT) maps.delete(maps.keys().next().value);
    const coming = api.explain(asked, signal);
    // What failed or was given up is asked again next time.
    coming.catch(() => maps.delete(key));
    maps.set(key, coming);
  }
  return maps.get(key);
}

function bare({ id, query, of, box }, info) {
  return { ...(id ? { id } : { query }), ...(id && of && of !== info.name && { of }), ...(box && { box }) };
}

/** Draws a map over the picture that a canvas lies on: the canvas takes the photograph's shape. */
export function draw(canvas, { map, width, height, flat }) {
  const rows = map.length;
  const columns = map[0]?.length ?? 0;
  if (!rows || !columns) return;
  const values = map.flat().filter((value) => value !== null);
  const low = Math.min(...values);
  const reach = Math.max(...values) - low;
  const small = new OffscreenCanvas(columns, rows);
  const cells = new ImageData(columns, rows);
  map.forEach((row, y) =>
    row.forEach((value, x) => {
      const strength = value === null || flat || reach <= 0 ? 0 : (value - low) / reach;
      const [red, green, blue] = value === null ? [200, 200, 200] : colour(strength);
      const alpha = value === null ? 0.5 : OPACITY * Math.min(1, strength * 1.6);
      cells.data.set([red, green, blue, Math.round(255 * alpha)], 4 * (y * columns + x));
    }),
  );
  small.getContext("2d").putImageData(cells, 0, 0);
  const shown = Math.min(1, 640 / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * shown));
  canvas.height = Math.max(1, Math.round(height * shown));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = true;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  canvas.classList.add("drawn");
}

export function wipe(canvas) {
  canvas.classList.remove("drawn");
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** The colour of a strength from 0 to 1, as [red, green, blue]. */
export function colour(strength) {
  const place = Math.min(1, Math.max(0, strength)) * (SCALE.length - 1);
  const from = Math.min(SCALE.length - 2, Math.floor(place));
  return SCALE[from].map((channel, each) => Math.round(channel + (SCALE[from + 1][each] - channel) * (place - from)));
}

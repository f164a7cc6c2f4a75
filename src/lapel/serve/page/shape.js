// The shape of the tiles: that of the catalogue's photographs, found from the first that are shown and remembered.

const ENOUGH = 6;
const [NARROW, WIDE] = [0.62, 1.15];
const seen = new Map(); // index -> ratios of its first photographs

const keyOf = (name) => `lapel-shape ${name}`;

/** Gives the tiles the remembered shape of an index. */
export function recallShape(name) {
  let ratio = null;
  try {
    ratio = Number(localStorage.getItem(keyOf(name)));
  } catch {
    /* found again below */
  }
  if (ratio >= NARROW && ratio <= WIDE) give(ratio);
}

/** Watches the pictures of a grid, until enough have told the shape. */
export function watchShape(element, name) {
  element.addEventListener("settled", ({ target, detail: good }) => {
    const ratios = seen.get(name) ?? [];
    if (!good || ratios.length >= ENOUGH) return;
    ratios.push(target.naturalWidth / target.naturalHeight);
    seen.set(name, ratios);
    if (ratios.length < ENOUGH) return;
    const ratio = ratios.toSorted((a, b) => a - b)[ENOUGH / 2];
    const given = Math.min(WIDE, Math.max(NARROW, ratio));
    give(given);
    try {
      localStorage.setItem(keyOf(name), given.toFixed(3));
    } catch {
      /* found again next time */
    }
  });
}

const give = (ratio) => document.documentElement.style.setProperty("--ratio", ratio.toFixed(3));

// While "show where it looks" is on, the garment under the pointer or the focus shows its map, and the query its own.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { after } from "./dom.js";
import { draw, lookOf, wipe } from "./looks.js";
import { stage } from "./query.js";
import { activePart, now } from "./state.js";

const PAUSE_MS = 120;
let shown = null;

/** Clears every map that is drawn. */
export function leave() {
  begin.cancel();
  if (shown) wipe(shown.canvas);
  shown?.tile.classList.remove("looking", "looked");
  shown = null;
  const { canvas, picture } = stage();
  wipe(canvas);
  picture.parentElement.classList.remove("looked");
}

/** Shows the maps of a card and of the query, after a pause: a pointer passes many cards on its way. */
export function over(card, info) {
  if (now().by && card.canvas !== shown?.canvas) begin(card, info);
}

const begin = after(PAUSE_MS, async (card, info) => {
  const { by } = now();
  const part = activePart();
  if (!by || !part || !info.explains) return;
  leave();
  const tile = card.element.querySelector(".tile");
  shown = { canvas: card.canvas, tile };
  const mine = shown;
  tile.classList.add("looking");
  try {
    const [found, asked] = await Promise.all([
      lookOf(info, { id: card.id }, by),
      lookOf(catalogue.current(), part, by),
    ]);
    if (shown !== mine) return;
    draw(card.canvas, found);
    tile.classList.add("looked");
    const { canvas, picture } = stage();
    draw(canvas, asked);
    picture.parentElement.classList.add("looked");
  } catch (error) {
    if (!api.isCancelled(error) && shown === mine) tile.title = `No map: ${error.message}`;
  } finally {
    tile.classList.remove("looking");
  }
});

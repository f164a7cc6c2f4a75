// Some garments of the catalogue to start from, before there is a query.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { ask } from "./state.js";

const SHOWN = 24;
let seed = Math.floor(Date.now() / 3_600_000); // the same for an hour: reloading shows the same garments

/** A handful of garments that pass a filter. */
export async function sample(where, signal) {
  const { entries } = await api.sample(catalogue.current().name, where, SHOWN, seed, signal);
  return entries;
}

/** Lets the next sample be another one. */
export function browseMore() {
  seed += 1;
}

/** Searches with any garment. */
export async function surprise() {
  const { entries } = await api.sample(catalogue.current().name, null, 1, Math.floor(Math.random() * 2 ** 31));
  if (entries.length) ask([{ id: entries[0].id }]);
}

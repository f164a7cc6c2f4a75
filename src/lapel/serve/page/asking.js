// From the page's state to the body of a search.

import { kinds } from "./catalogue.js";
import { where } from "./where.js";

export const PAGE = 24;

/**
 * The search that a state asks of an index, without its offset; null when there is nothing to search with.
 *
 * ``home`` is the index that the ids of the state belong to; asked of another one, attributes and columns that it does
 * not have are left out.
 */
export function searchOf(state, info, home) {
  if (!state.parts.length) return null;
  const names = new Set(info.attributes.map((each) => each.name));
  const parts = state.parts.map((part) => {
    const asked = part.id ? { id: part.id, of: part.of ?? home.name } : { query: part.query };
    if (asked.of === info.name) delete asked.of;
    if (part.box) asked.box = part.box;
    if (part.weights) {
      asked.weights = Object.fromEntries(Object.entries(part.weights).filter(([name]) => names.has(name)));
    }
    return asked;
  });
  const asked = { index: info.name, parts, k: PAGE, group: true };
  const filter = where(state, kinds(info));
  if (filter) asked.where = filter;
  if (state.least !== null) asked.threshold = state.least;
  if (state.more.length) asked.more = state.more;
  if (state.less.length) asked.less = state.less;
  return asked;
}

/** Whether every weight of a search is nought, so that nothing could be ranked. */
export const allOff = (asked) =>
  asked.parts.every((part) => part.weights && Object.values(part.weights).every((weight) => weight === 0));

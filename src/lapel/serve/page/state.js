// The one state of the page. Modules read it with now(), change it with change(), and are told of every change.

import { EMPTY, read, write } from "./address.js";

let state = read(location.search);
const told = [];

export const now = () => state;

/** Calls ``act(state, before)`` after every change, in the order of registration. */
export function follow(act) {
  told.push(act);
}

/**
 * Changes some fields. A lasting change is a step that the back button undoes; a passing one (a slider on its way)
 * leaves the address as it is, until the lasting one that ends it.
 */
export function change(fields, { passing = false, quietly = false } = {}) {
  const before = state;
  state = { ...state, ...fields };
  if (!passing) {
    const address = write(state);
    const here = location.pathname + location.search;
    if (address !== here && decodeURIComponent(address) !== safely(here)) {
      keepPlace();
      if (quietly) history.replaceState(history.state, "", address);
      else history.pushState({ scroll: 0, opened: Boolean(fields.why) }, "", address);
    }
  }
  for (const act of told) act(state, before);
}

/** Begins again with a new query: what belonged to the old one goes, filters and the compared index stay. */
export function ask(parts, options) {
  change({ view: "search", parts, active: 0, more: [], less: [], why: null }, options);
}

/** Changes the part of the query that is in hand. */
export function changePart(fields, options) {
  const parts = state.parts.map((part, place) => (place === state.active ? { ...part, ...fields } : part));
  change({ parts }, options);
}

export const activePart = () => state.parts[state.active] ?? null;

/** The address of a search with one garment of the catalogue, for links that open in a new tab as well. */
export const addressOfQuery = (id) =>
  write({
    ...EMPTY,
    index: state.index,
    parts: [{ id }],
    values: state.values,
    ranges: state.ranges,
    has: state.has,
    missing: state.missing,
    other: state.other,
  });

/** Remembers how far down the page was, so that coming back finds the place again. */
export function keepPlace() {
  history.replaceState({ ...history.state, scroll: Math.round(scrollY) }, "");
}

export const place = () => history.state?.scroll ?? 0;

addEventListener("popstate", () => {
  const before = state;
  state = read(location.search);
  for (const act of told) act(state, before, { moved: true });
});

function safely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// What the server serves: its indexes, what each can be asked, and the entries looked at so far.

import * as api from "./api.js";
import { now } from "./state.js";

let all = [];
const entries = new Map();
const ENTRIES = 400;

/** Reads the list of indexes; to be called once before anything else here, and when the server has come back. */
export async function load() {
  all = (await api.indexes()).indexes;
  return all;
}

export const indexes = () => all;
export const index = (name) => all.find((each) => each.name === name) ?? null;

/** The index that is searched: the one of the address or, if that is not there, the first. */
export const current = (state = now()) => index(state.index) ?? all[0];

/** The index compared with, if it is there and another one. */
export function compared(state = now()) {
  const other = index(state.other);
  return other && other.name !== current(state).name ? other : null;
}

/** column -> kind */
export const kinds = (info) => Object.fromEntries(info.columns.map((each) => [each.name, each.kind]));

/** An entry of an index, remembered; ``seen`` takes what a search gave, so that it need not be asked. */
export async function entry(info, id, signal) {
  const key = `${info.name} ${info.version} ${id}`;
  if (!entries.has(key)) {
    const found = (await api.entry(info.name, id, signal)).entry;
    if (entries.size >= ENTRIES) entries.delete(entries.keys().next().value);
    entries.set(key, found);
  }
  return entries.get(key);
}

const NAMES = ["name", "title", "product_name", "prod_name", "product", "display_name"];

/** What to call a garment: its name where the metadata has one, else its item, else its file. */
export function title(entry) {
  for (const name of NAMES) {
    const key = Object.keys(entry.metadata).find((each) => each.toLowerCase() === name);
    if (key && entry.metadata[key]) return String(entry.metadata[key]);
  }
  return entry.item
    ? String(entry.item)
    : entry.id
        .split("/")
        .at(-1)
        .replace(/\.[a-z]+$/i, "");
}

/** A price-like figure to show under the name, or null. */
export function price(entry) {
  const key = Object.keys(entry.metadata).find((each) => /^(sale_)?price/i.test(each));
  const found = key ? entry.metadata[key] : null;
  return typeof found === "number" ? found : null;
}

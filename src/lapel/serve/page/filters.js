// The filter bar: a menu per column with counts, ranges of numbers, words, and what is chosen as chips to remove.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { after, button, byId, capital, fill, h, icon, number, set, words } from "./dom.js";
import { notice, clearNotice } from "./notices.js";
import { rangeOf } from "./range.js";
import { change, now } from "./state.js";
import { isFree, Suggestions } from "./suggest.js";
import { describe, where } from "./where.js";

const FEW = 60; // a text column with more values than this is searched by words
const KEPT = 60; // counts
const HIDDEN = new Set(["image"]);

const counted = new Map(); // filter -> facets, of one version of the index
let version = null;
let menus = new Map(); // column -> its menu
let asked = 0; // number of the newest count
let heard = () => {};
let menuOpen = null;

const bar = h("div", { class: "menus", role: "group", aria: { label: "Filter by" } });
const active = h("ul", { class: "chips active", aria: { label: "Chosen filters" } });
const suggestions = new Suggestions(choose);

/** Builds the bar; ``count(passing, all)`` is told how many pictures pass. */
export function setUp(count) {
  heard = count;
  fill(byId("filters"), h("div", { class: "bar" }, suggestions.element, bar), active);
}

/** Takes the keyboard to the field that finds values. */
export const focusField = () => suggestions.focus();

/** Brings the bar to a state: chips at once, counts as they come. */
export async function show(state) {
  const info = catalogue.current(state);
  if (version !== `${info.name} ${info.version}`) {
    version = `${info.name} ${info.version}`;
    counted.clear();
    menus = new Map();
    fill(bar);
  }
  drawActive(state);
  asked += 1;
  const mine = asked;
  const kinds = catalogue.kinds(info);
  const chosen = [...new Set(describe(state).map((each) => each.name))].filter((name) => name in kinds);
  try {
    // Within a column its own choice does not count: what else could be chosen there keeps its number.
    const [whole, all, ...others] = await Promise.all([
      facets(info, where(state, kinds)),
      facets(info, null),
      ...chosen.map((name) => facets(info, where(state, kinds, name))),
    ]);
    if (mine !== asked) return;
    const columns = new Map(whole.columns.map((each) => [each.name, each]));
    chosen.forEach((name, place) => {
      const own = others[place].columns.find((each) => each.name === name);
      if (own) columns.set(name, own);
    });
    clearNotice("filters");
    heard(whole.count, all.count);
    drawMenus(all, columns, now());
    suggestions.offer(all.columns, columns, all.count);
  } catch (error) {
    if (mine === asked)
      notice("filters", `The filters cannot be counted: ${error.message}`, [["Remove the filters", clear]]);
  }
}

function facets(info, filter) {
  const key = filter ?? "";
  if (!counted.has(key)) {
    if (counted.size > KEPT) counted.clear();
    const coming = api.facets(info.name, filter);
    coming.catch(() => counted.delete(key));
    counted.set(key, coming);
  }
  return counted.get(key);
}

/** Columns worth a menu: those with something to choose, the labels first. */
function offered(columns, pictures) {
  const rank = { labels: 0, number: 1, integer: 1, boolean: 2, text: 3 };
  const useful = (each) => {
    if (HIDDEN.has(each.name)) return false;
    if (each.kind === "number" || each.kind === "integer") return each.low !== null && each.high > each.low;
    const choices = each.values.length + (each.missing > 0 ? 1 : 0);
    return choices > 1 && each.values.length <= FEW && !isFree(each, pictures);
  };
  return columns.filter(useful).toSorted((a, b) => rank[a.kind] - rank[b.kind]);
}

function drawMenus(all, columns, state) {
  for (const column of offered(all.columns, all.count)) {
    if (!menus.has(column.name)) {
      const menu = makeMenu(column);
      menus.set(column.name, menu);
      bar.append(menu.opener, menu.panel);
    }
  }
  for (const [name, menu] of menus) drawMenu(menu, columns.get(name), state);
}

function makeMenu(column) {
  const id = `menu-${menus.size}`;
  const panel = h("div", {
    class: "menu",
    id,
    popover: "auto",
    role: "group",
    aria: { label: capital(words(column.name)) },
  });
  const count = h("span", { class: "number" });
  const opener = h(
    "button",
    {
      type: "button",
      class: "chip opener",
      popovertarget: id,
      aria: { haspopup: "true", expanded: "false", controls: id },
    },
    capital(words(column.name)),
    count,
    icon("opens"),
  );
  panel.addEventListener("toggle", (event) => {
    const open = event.newState === "open";
    set(opener, "aria-expanded", String(open));
    menuOpen = open ? { opener, panel } : menuOpen?.panel === panel ? null : menuOpen;
    if (open) settle(opener, panel);
  });
  panel.addEventListener("keydown", (event) => walk(event, panel));
  const range =
    column.kind === "number" || column.kind === "integer"
      ? rangeOf(column, (ends) => change({ ranges: put(now().ranges, column.name, ends) }))
      : null;
  return { opener, panel, count, column, range, chips: new Map() };
}

function drawMenu(menu, column, state) {
  const { name, kind } = menu.column;
  const chosen = state.values[name] ?? [];
  const [low, high] = state.ranges[name] ?? [null, null];
  const many = chosen.length + state.missing.includes(name) + (state.ranges[name] ? 1 : 0);
  menu.count.textContent = many ? ` ${many}` : "";
  menu.opener.classList.toggle("on", many > 0);
  if (menu.range) {
    if (!menu.panel.childElementCount) fill(menu.panel, menu.range.element);
    menu.range.show(low, high);
    return;
  }
  const counts = new Map((column?.values ?? []).map(({ value, count }) => [String(value), count]));
  // Values of the whole catalogue, in their order: nothing jumps when counts change.
  const listed = [...new Set([...menu.column.values.map(({ value }) => String(value)), ...counts.keys(), ...chosen])];
  const made = listed.map((value) =>
    chip(
      menu,
      value,
      kind === "boolean" ? { true: "yes", false: "no" }[value] : shown(kind, value),
      counts.get(value) ?? 0,
      chosen.includes(value),
      () => change({ values: toggled(now().values, name, value) }),
    ),
  );
  if (menu.column.missing > 0) {
    made.push(
      chip(menu, "\u0000", "none", column?.missing ?? 0, state.missing.includes(name), () =>
        change({ missing: flipped(now().missing, name) }),
      ),
    );
  }
  const list = menu.panel.firstElementChild ?? menu.panel.appendChild(h("div", { class: "chips" }));
  if (list.childElementCount !== made.length || made.some((each, place) => list.children[place] !== each))
    fill(list, made);
}

/** Labels are names of values, written with _ for a space; other text is shown as it is. */
const shown = (kind, value) => (kind === "labels" ? words(value) : value);

function chip(menu, key, text, count, chosen, act) {
  if (!menu.chips.has(key)) {
    menu.chips.set(
      key,
      h(
        "button",
        { type: "button", class: "chip", on: { click: () => act() } },
        h("span", {}, text),
        h("span", { class: "number" }),
      ),
    );
  }
  const made = menu.chips.get(key);
  made.lastElementChild.textContent = number(count);
  set(made, "aria-pressed", String(chosen));
  made.classList.toggle("nothing", count === 0 && !chosen);
  return made;
}

function drawActive(state) {
  const all = describe(state);
  active.hidden = !all.length;
  fill(
    active,
    all.map(({ name, text, without }) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "chip on",
            aria: { label: `Remove the filter ${words(name)} ${text}` },
            on: { click: () => remove(without) },
          },
          h("span", { class: "muted" }, words(name)),
          h("span", {}, text),
          icon("close"),
        ),
      ),
    ),
    all.length > 1 && h("li", {}, button({ text: "Remove all", kind: "button small plain", act: clear })),
  );
}

function remove(without) {
  change(without);
  // The chip that had the focus is gone.
  (active.querySelector("button") ?? suggestions.field).focus();
}

const clear = () => change({ values: {}, missing: [], ranges: {}, has: {} });

/** Takes a suggestion: a value of a column, or words in one. */
function choose({ name, value, told }) {
  const state = now();
  if (told !== undefined) change({ has: { ...state.has, [name]: told } });
  else change({ values: { ...state.values, [name]: [...new Set([...(state.values[name] ?? []), value])] } });
}

/** Puts a menu under its button, or at the bottom of a small screen. */
function settle(opener, panel) {
  const at = opener.getBoundingClientRect();
  const width = panel.offsetWidth;
  panel.style.setProperty("--left", `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`);
  panel.style.setProperty("--top", `${at.bottom + 6}px`);
}

const resettle = after(30, () => menuOpen && settle(menuOpen.opener, menuOpen.panel));
addEventListener("resize", resettle);
addEventListener("scroll", () => menuOpen && settle(menuOpen.opener, menuOpen.panel), { passive: true });

function walk(event, panel) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step || event.target.matches("input")) return;
  const all = [...panel.querySelectorAll("button")];
  const at = all.indexOf(document.activeElement);
  event.preventDefault();
  all[(at + step + all.length) % all.length]?.focus();
}

function put(map, name, value) {
  const { [name]: _, ...rest } = map;
  return value ? { ...rest, [name]: value } : rest;
}

function toggled(values, name, value) {
  const chosen = flipped(values[name] ?? [], value);
  return put(values, name, chosen.length ? chosen : null);
}

const flipped = (list, value) => (list.includes(value) ? list.filter((each) => each !== value) : [...list, value]);

// Why this one: query and result side by side, where the model looks for one attribute, how alike they are in each.

import { EMPTY } from "./address.js";
import * as api from "./api.js";
import { searchOf } from "./asking.js";
import { barRows } from "./bars.js";
import * as catalogue from "./catalogue.js";
import { button, fill, h, number, set, words } from "./dom.js";
import { rate } from "./feedback.js";
import { colour, draw, lookOf, wipe } from "./looks.js";
import { picture, point } from "./pictures.js";
import { facts } from "./query.js";
import { found, likelyValues, mainGrid } from "./results.js";
import { activePart, ask, change, now } from "./state.js";
import { where } from "./where.js";

const SIDE = 640;
let open = null; // what is shown: {info, id}
let running = null;

const side = (words) => {
  const image = picture("data:,", SIDE, "", false);
  const canvas = h("canvas", { class: "look", aria: { hidden: true } });
  const caption = h("figcaption");
  return {
    image,
    canvas,
    caption,
    figure: h("figure", { aria: { label: words } }, h("div", { class: "plate" }, image, canvas), caption),
  };
};
const left = side("The query");
const right = side("The result");
const chips = h("div", { class: "chips", role: "group", aria: { labelledby: "why-by" } });
const progress = h("p", { class: "progress small muted", role: "status" });
const scale = h("canvas", { class: "scale", width: 120, height: 1, aria: { hidden: true } });
const legend = h("p", { class: "legend small muted" }, h("span", {}, "looks past"), scale, h("span", {}, "looks most"));
const table = h("table", { class: "scores" });
const about = h("dl", { class: "about-it" });
const acts = h("div", { class: "acts" });
const title = h("h2", { id: "why-title" });
const earlier = button({
  icon: "left",
  label: "The one before",
  kind: "round",
  act: () => step(-1),
  aria: { keyshortcuts: "ArrowLeft" },
});
const later = button({
  icon: "right",
  label: "The next one",
  kind: "round",
  act: () => step(1),
  aria: { keyshortcuts: "ArrowRight" },
});
const dialog = h(
  "dialog",
  { class: "box why", aria: { labelledby: "why-title" } },
  h(
    "header",
    {},
    title,
    h("span", { class: "grow" }),
    earlier,
    later,
    button({ icon: "close", label: "Close", kind: "round", act: () => dialog.close() }),
  ),
  h("div", { class: "by" }, h("h3", { id: "why-by" }, "Where the model looks for"), chips),
  h("div", { class: "pair" }, left.figure, right.figure),
  h("div", { class: "under" }, progress, legend),
  h(
    "div",
    { class: "facts" },
    h("div", { class: "scroll", tabindex: "0", role: "group", aria: { label: "Alike per attribute" } }, table),
    about,
  ),
  acts,
);

dialog.addEventListener("close", () => now().why !== null && leave());
// A click beside the box closes it.
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("keydown", (event) => {
  const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (way && !event.target.matches("input")) {
    event.preventDefault();
    event.stopPropagation();
    step(way);
  }
});

/** Closed by hand: the step that opened it is undone. */
function leave() {
  if (history.state?.opened) history.back();
  else change({ why: null }, { quietly: true });
}

/** The attribute to explain by: the chosen one, or the one that counts most. */
export function attributeOf(state, info) {
  const names = info.attributes.map((each) => each.name);
  if (names.includes(state.by)) return state.by;
  const weights = activePart()?.weights ?? {};
  return names.toSorted((a, b) => Math.abs(weights[b] ?? 0) - Math.abs(weights[a] ?? 0))[0];
}

/** Opens, changes or closes the box as a state says. */
export async function show(state) {
  running?.abort();
  if (!state.why || !state.parts.length) {
    open = null;
    if (dialog.open) dialog.close();
    return;
  }
  if (!dialog.isConnected) document.body.append(dialog);
  running = new AbortController();
  const { signal } = running;
  const info = catalogue.current(state);
  const part = activePart();
  const changed = open?.id !== state.why;
  open = { info, id: state.why };
  if (!dialog.open) dialog.showModal();
  const by = attributeOf(state, info);
  drawChips(info, by);
  try {
    const [entry, asked] = await Promise.all([catalogue.entry(info, state.why, signal), facts(part)]);
    if (signal.aborted) return;
    open.facts = [entry, asked];
    drawFacts(state, entry, asked, changed);
    scored(state, info, entry, signal);
  } catch (error) {
    if (!api.isCancelled(error)) progress.textContent = `This garment cannot be shown: ${error.message}`;
    return;
  }
  await drawLooks(info, part, state.why, by, signal);
}

/** The results have come or changed: their figures are drawn again. */
export function refresh(state) {
  if (!open?.facts || state.why !== open.id) return;
  const [entry] = open.facts;
  drawFacts(state, ...open.facts, false);
  if (!hitOf(entry.id) && !asides.some((each) => each.item === entry.item))
    scored(state, open.info, entry, running.signal);
}

function drawChips(info, by) {
  fill(
    chips,
    info.attributes.map(({ name, item }) =>
      button({
        text: item ? "this very item" : words(name),
        kind: "chip",
        aria: { pressed: String(name === by) },
        act: () => {
          change({ by: name }, { quietly: true });
          chips.querySelector('[aria-pressed="true"]')?.focus();
        },
      }),
    ),
  );
}

/** The hit of a garment: found, or asked for where it is folded under another picture or far down. */
const hitOf = (id) =>
  [...(found()?.hits ?? []), ...(found()?.right?.hits ?? []), ...asides].find((each) => each.id === id);
let asides = [];

async function scored(state, info, entry, signal) {
  if (hitOf(entry.id) || !found() || entry.item === null || !("item" in catalogue.kinds(info))) return;
  const { threshold: _, ...asked } = searchOf(state, info, info);
  const { item } = entry;
  try {
    asides = (
      await api.search(
        { ...asked, where: where({ ...EMPTY, values: { item: [item] } }, { item: "text" }), group: false, k: 200 },
        signal,
      )
    ).hits;
    refresh(now());
  } catch {
    /* without figures, then */
  }
}

function drawFacts(state, entry, asked, changed) {
  const hit = hitOf(entry.id) ?? entry;
  const name = catalogue.title(entry);
  title.textContent = name;
  if (changed) [left, right].forEach((each) => wipe(each.canvas));
  point(left.image, asked.address, SIDE);
  point(right.image, entry.image, SIDE);
  left.image.alt = `The query: ${asked.title}`;
  right.image.alt = name;
  left.caption.textContent = asked.title;
  right.caption.textContent = name;
  const sized = [
    [left, asked.size],
    [right, entry.width ? [entry.width, entry.height] : null],
  ];
  for (const [each, size] of sized) if (size) each.figure.style.setProperty("--ratio", `${size[0]} / ${size[1]}`);
  const rows = hit.scores ? barRows(hit, found()?.weights ?? {}, likelyValues()) : [];
  fill(
    table,
    h("caption", { class: "unseen" }, "How alike they are in each attribute"),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["", "query", "this one", "alike", ""].map((each, place) =>
          each ? h("th", { scope: "col" }, each) : h("td", {}, place ? "" : ""),
        ),
      ),
    ),
    h("tbody", {}, rows),
  );
  table.parentElement.hidden = !rows.length;
  const told = Object.entries(entry.metadata).filter(([, value]) => value !== null && value !== "");
  fill(
    about,
    [["item", entry.item], ...told, ["picture", entry.id]]
      .filter(([, value]) => value !== null)
      .map(([key, value]) =>
        h("div", {}, h("dt", {}, words(key)), h("dd", {}, typeof value === "number" ? number(value) : String(value))),
      ),
  );
  const act = (way, text, drawing) =>
    button({
      icon: drawing,
      text,
      act: () => rate(entry.id, way),
      aria: { pressed: String(state[way].includes(entry.id)) },
    });
  fill(
    acts,
    button({ text: "Search with this one", kind: "button primary", act: () => ask([{ id: entry.id }]) }),
    act("more", "More like this", "up"),
    act("less", "Less like this", "down"),
  );
  const order = mainGrid()?.order ?? [];
  const at = order.findIndex((card) => card.id === entry.id);
  set(earlier, "disabled", at <= 0);
  set(later, "disabled", at < 0 || at >= order.length - 1);
}

async function drawLooks(info, part, id, by, signal) {
  legend.hidden = true;
  if (!info.explains) {
    progress.textContent = "The run that made this index is not on this machine, so where it looks cannot be shown.";
    return;
  }
  // The first map loads the model, which takes seconds; later ones come at once.
  const slow = setTimeout(() => {
    fill(
      progress,
      h("span", { class: "busy-ring", aria: { hidden: true } }),
      "Looking\u2026 the first time, the model is loaded for this.",
    );
    [left, right].forEach((each) => each.figure.classList.add("waiting"));
  }, 150);
  try {
    const looks = await Promise.all([lookOf(info, part, by), lookOf(info, { id }, by)]);
    if (signal.aborted) return;
    draw(left.canvas, looks[0]);
    draw(right.canvas, looks[1]);
    drawScale();
    legend.hidden = false;
    progress.textContent = looks.some((each) => each.flat)
      ? "Where there is no colour, the model looks everywhere alike."
      : "";
  } catch (error) {
    if (signal.aborted || api.isCancelled(error)) return;
    [left, right].forEach((each) => wipe(each.canvas));
    progress.textContent = `Where the model looks cannot be shown: ${error.message}`;
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) [left, right].forEach((each) => each.figure.classList.remove("waiting"));
    if (progress.querySelector(".busy-ring") && !signal.aborted) progress.textContent = "";
  }
}

function drawScale() {
  const pen = scale.getContext("2d");
  for (let x = 0; x < scale.width; x += 1) {
    pen.fillStyle = `rgb(${colour(x / (scale.width - 1)).join(" ")})`;
    pen.fillRect(x, 0, 1, 1);
  }
}

/** Goes to a neighbour in the results. */
function step(way) {
  const order = mainGrid()?.order ?? [];
  const to = order[order.findIndex((card) => card.id === open?.id) + way];
  if (to) change({ why: to.id }, { quietly: true });
}

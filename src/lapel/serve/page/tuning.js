// What counts: presets, a slider for each attribute, and the query's likely values.

import * as catalogue from "./catalogue.js";
import { button, byId, capital, fill, h, percent, set, words } from "./dom.js";
import { activePart, change, changePart, now } from "./state.js";

const MOST = 2;
const STEP = 0.1;
const TOGETHER_MS = 2000;
const rows = new Map(); // attribute -> its row's parts
let built = null;
let presets = null;

/** Weights of a part over all attributes: those not named count nothing, without any all count the same. */
const weightsOf = (part, info) =>
  Object.fromEntries(info.attributes.map(({ name }) => [name, part?.weights ? (part.weights[name] ?? 0) : 1]));

/** Draws presets and sliders for a state. */
export function show(state) {
  const panel = byId("tuning");
  const info = catalogue.current(state);
  const part = state.parts[state.active];
  panel.hidden = !part;
  if (!part) return;
  if (built !== info.name) build(panel, info);
  const weights = weightsOf(part, info);
  const total = Object.values(weights).reduce((sum, weight) => sum + Math.abs(weight), 0);
  for (const [name, row] of rows) place(row, weights[name], total);
  for (const [chip, wanted] of presets) set(chip, "aria-pressed", alike(weights, wanted));
}

function build(panel, info) {
  built = info.name;
  rows.clear();
  const every = Object.fromEntries(info.attributes.map(({ name }) => [name, 1]));
  const chip = (text, weights) => [
    button({ text, kind: "chip", act: () => changePart({ weights: short(weights, info) }) }),
    weights,
  ];
  const item = info.attributes.find((each) => each.item);
  const whole = [chip("Alike in everything", every), ...(item ? [chip("Exactly this item", { [item.name]: 1 })] : [])];
  const single = info.attributes.filter((each) => !each.item).map(({ name }) => chip(words(name), { [name]: 1 }));
  presets = [...whole, ...single];
  const list = h(
    "ul",
    { class: "sliders" },
    info.attributes.map((attribute) => slider(attribute, info)),
  );
  fill(
    panel,
    h("h3", {}, "What counts"),
    h(
      "div",
      { class: "presets" },
      h(
        "div",
        { class: "chips" },
        whole.map(([made]) => made),
      ),
      h(
        "div",
        { class: "chips", role: "group", aria: { labelledby: "same" } },
        h("span", { class: "small muted", id: "same" }, "Same"),
        single.map(([made]) => made),
      ),
    ),
    h(
      "details",
      { class: "fine", open: matchMedia("(min-width: 821px)").matches },
      h("summary", {}, "Fine-tune"),
      h(
        "p",
        { class: "ends small muted", aria: { hidden: true } },
        h("span", {}, "less like this"),
        h("span", {}, "off"),
        h("span", {}, "more"),
      ),
      list,
    ),
  );
}

function slider({ name, item }, info) {
  const shown = item ? "this very item" : words(name);
  const range = h("input", {
    type: "range",
    id: `weight-${info.attributes.findIndex((each) => each.name === name)}`,
    min: -MOST,
    max: MOST,
    step: STEP,
    list: null,
    on: { input: () => move(name, range, info, true), change: () => move(name, range, info, false) },
  });
  const figure = h("output", { for: range.id });
  const share = h("span", { class: "share" });
  const vote = h("span", { class: "votes" });
  rows.set(name, { range, figure, share, vote, name: shown, attribute: name });
  const label = h("label", { for: range.id }, capital(shown));
  return h("li", {}, h("div", { class: "row" }, label, vote, h("span", { class: "grow" }), figure, share), range);
}

let last = { name: null, at: 0 };

function move(name, range, info, passing) {
  const weights = { ...weightsOf(activePart(), info), [name]: snapped(Number(range.value)) };
  // With the keyboard every step ends at once: steps of one slider in a row are one step back.
  const quietly = last.name === name && Date.now() - last.at < TOGETHER_MS;
  if (!passing) last = { name, at: Date.now() };
  changePart({ weights: short(weights, info) }, { passing, quietly });
}

/** Close to nought is nought: off is easy to hit. */
const snapped = (weight) => (Math.abs(weight) < STEP * 1.5 ? 0 : Number(weight.toFixed(2)));

/** Weights as short as can be: nothing where every attribute counts one. */
function short(weights, info) {
  if (info.attributes.every(({ name }) => weights[name] === 1)) return undefined;
  const named = Object.entries(weights).filter(([, weight]) => weight !== 0);
  // All off is a state of its own: it is written with one nought.
  return Object.fromEntries(named.length ? named : [[info.attributes[0].name, 0]]);
}

function place(row, weight, total) {
  const { range, figure, share } = row;
  if (Number(range.value) !== weight && document.activeElement !== range) range.value = weight;
  if (document.activeElement === range && Math.abs(Number(range.value) - weight) > STEP * 1.6) range.value = weight;
  const middle = 50;
  const at = middle + (50 * Math.max(-MOST, Math.min(MOST, weight))) / MOST;
  range.style.setProperty("--from", `${Math.min(middle, at)}%`);
  range.style.setProperty("--to", `${Math.max(middle, at)}%`);
  range.classList.toggle("less", weight < 0);
  range.classList.toggle("off", weight === 0);
  const told = weight === 0 ? "off" : `${weight > 0 ? "" : "\u2212"}${Math.abs(weight).toFixed(1)}`;
  figure.textContent = told;
  share.textContent = weight && total ? percent(Math.abs(weight) / total) : "";
  share.title = "Its part of what counts";
  set(
    range,
    "aria-valuetext",
    weight === 0 ? "off" : `${weight > 0 ? "more" : "less"} like this, ${Math.abs(weight).toFixed(1)}`,
  );
}

/** The weights of an answer in words: what must be alike, and what unlike. */
export function inWords(weights) {
  const name = (way) =>
    Object.keys(weights)
      .filter((each) => Math.sign(weights[each]) === way)
      .map(words);
  const [alike, unlike] = [name(1), name(-1)];
  const all = Object.values(weights).every((weight) => weight > 0);
  if (all || alike.length > 4 || unlike.length > 4 || !(alike.length + unlike.length)) return "Similar garments";
  return capital(
    [alike.length && `alike in ${listed(alike)}`, unlike.length && `unlike in ${listed(unlike)}`]
      .filter(Boolean)
      .join(", "),
  );
}

const listed = (names) => (names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0]);

/** Shows the effective weights that an answer tells, where feedback or mixing changed them. */
export function showEffective(effective) {
  const total = Object.values(effective).reduce((sum, weight) => sum + Math.abs(weight), 0);
  for (const [name, row] of rows) {
    const weight = effective[name] ?? 0;
    row.share.textContent = weight && total ? percent(Math.abs(weight) / total) : "";
  }
}

/** Shows the query's likely values, each with its share of the vote; one click makes it a filter. */
export function showLikely(likely) {
  for (const [name, { vote, name: shown }] of rows) {
    const [best, second] = likely?.[name] ?? [];
    const filterable = best && catalogue.current().columns.some((each) => each.name === name);
    fill(
      vote,
      best && [
        filterable
          ? button({
              text: words(best.value),
              kind: "value",
              title: `Show ${shown} ${words(best.value)} only`,
              aria: {
                label: `Likely ${shown}: ${words(best.value)}, ${percent(best.share)} of the vote. Show only these`,
              },
              act: () => only(name, best.value),
            })
          : h("span", { class: "value" }, words(best.value)),
        h(
          "span",
          { class: "muted", title: second ? `then ${words(second.value)}, ${percent(second.share)}` : null },
          percent(best.share),
        ),
      ],
    );
  }
}

function only(name, value) {
  const { values } = now();
  change({ values: { ...values, [name]: [value] } });
}

const alike = (weights, wanted) => Object.entries(weights).every(([name, weight]) => weight === (wanted[name] ?? 0));

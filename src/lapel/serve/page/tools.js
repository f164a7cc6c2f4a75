// Above the results: the threshold, where the model looks, and the index to compare with.

import * as catalogue from "./catalogue.js";
import { byId, capital, fill, h, percent, set, words } from "./dom.js";
import { change, now } from "./state.js";
import { attributeOf } from "./why.js";

const least = h("input", {
  type: "range",
  id: "least",
  min: 0,
  max: 1,
  step: 0.01,
  on: { input: () => take(true), change: () => take(false) },
});
const figure = h("output", { for: "least" });
const look = h("select", { id: "by", on: { change: () => change({ by: look.value || null }) } });
const other = h("select", { id: "other", on: { change: () => change({ other: other.value || null }) } });
const tools = {
  least: h("div", { class: "tool" }, h("label", { for: "least" }, "At least"), least, figure),
  look: h("div", { class: "tool" }, h("label", { for: "by" }, "Attention"), look),
  other: h("div", { class: "tool" }, h("label", { for: "other" }, "Compare"), other),
};

function take(passing) {
  const value = Number(least.value);
  change({ least: value > 0 ? value : null }, { passing });
}

/** Draws the tools for a state. */
export function show(state) {
  const place = byId("tools");
  const info = catalogue.current(state);
  place.hidden = !state.parts.length;
  if (place.hidden) return;
  const others = catalogue.indexes().filter((each) => each.name !== info.name);
  if (!place.childElementCount || place.dataset.of !== info.name) {
    place.dataset.of = info.name;
    fill(place, info.explains && tools.look, others.length > 0 && tools.other, tools.least);
    fill(
      look,
      h("option", { value: "" }, "off"),
      info.attributes.map(({ name, item }) => h("option", { value: name }, item ? "this very item" : words(name))),
    );
    fill(
      other,
      h("option", { value: "" }, "off"),
      others.map(({ name }) => h("option", { value: name }, name)),
    );
  }
  if (document.activeElement !== least) least.value = state.least ?? 0;
  least.style.setProperty("--from", "0%");
  least.style.setProperty("--to", `${100 * Math.max(0, state.least ?? 0)}%`);
  least.classList.toggle("off", state.least === null);
  figure.textContent = state.least === null ? "any" : `${percent(state.least)}`;
  set(least, "aria-valuetext", state.least === null ? "any likeness" : `${percent(state.least)} alike`);
  look.value = info.attributes.some((each) => each.name === state.by) ? state.by : "";
  other.value = catalogue.compared(state)?.name ?? "";
}

/** Turns the maps under the pointer on or off. */
export function toggleLooks() {
  const state = now();
  const info = catalogue.current(state);
  if (!info.explains || !state.parts.length) return null;
  const by = state.by ? null : attributeOf(state, info);
  change({ by });
  return by ? capital(words(by)) : null;
}

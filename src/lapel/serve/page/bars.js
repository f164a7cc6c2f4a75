// How alike per attribute, as small bars; faint ones did not count.

import { arrange, h, percent, words } from "./dom.js";

const MOST = 12;

/** Draws the bars of a hit into an element, which keeps those it has; they rise from the cosine ``floor`` to 1. */
export function bars(element, hit, weights, floor) {
  const names = Object.keys(hit.scores ?? {}).slice(0, MOST);
  element.hidden = names.length < 2;
  if (element.hidden) return;
  const told = names.map((name) => `${words(name)} ${percent(hit.scores[name])}`);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `Alike: ${told.join(", ")}`);
  element.title = told.join("\n");
  const made = [...element.children];
  arrange(
    element,
    names.map((name, place) => {
      const bar = made[place] ?? h("i");
      bar.style.setProperty(
        "--share",
        `${Math.round(100 * Math.max(0.08, (hit.scores[name] - floor) / (1 - floor)))}%`,
      );
      bar.className = weights[name] > 0 ? "counts" : weights[name] < 0 ? "counts against" : "";
      return bar;
    }),
  );
}

/** The same with names, as a table of rows for a closer look. */
export function barRows(hit, weights, likely) {
  return Object.entries(hit.scores ?? {}).map(([name, cosine]) => {
    const bar = h("i", { class: weights[name] > 0 ? "counts" : weights[name] < 0 ? "counts against" : "" });
    bar.style.setProperty("--share", `${Math.max(0, 100 * cosine)}%`);
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, words(name)),
      h("td", {}, words(likely?.[name]?.[0]?.value ?? "\u2013")),
      h("td", {}, words((hit.labels[name] ?? []).join(", ")) || "\u2013"),
      h("td", { class: "drawn" }, h("span", { class: "bar" }, bar)),
      h("td", { class: "figure" }, percent(cosine)),
    );
  });
}

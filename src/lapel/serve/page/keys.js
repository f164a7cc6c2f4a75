// The keyboard: what works everywhere, and the list of it.

import { button, h } from "./dom.js";
import { reset } from "./feedback.js";
import { focusField } from "./filters.js";
import { mainGrid } from "./results.js";
import { toggleLooks } from "./tools.js";

const KEYS = [
  ["Arrow keys", "walk through the results"],
  ["Enter", "search with the garment in hand"],
  ["/", "find a filter"],
  ["m", "more like the garment in hand"],
  ["l", "less like it"],
  ["r", "take all of it back"],
  ["w", "why this one"],
  ["s", "show where the model looks, or not"],
  ["v", "open or fold its variants"],
  ["x", "mix it into the query"],
  ["?", "these keys"],
  ["Esc", "close what is open"],
];

const dialog = h(
  "dialog",
  { class: "box small-box", aria: { labelledby: "keys-title" } },
  h(
    "header",
    {},
    h("h2", { id: "keys-title" }, "Keys"),
    h("span", { class: "grow" }),
    button({ icon: "close", label: "Close", kind: "round", act: () => dialog.close() }),
  ),
  h(
    "dl",
    { class: "keys" },
    KEYS.map(([key, does]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, does))),
  ),
);
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());

export function showKeys() {
  if (!dialog.isConnected) document.body.append(dialog);
  if (!dialog.open) dialog.showModal();
}

export function listen() {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input:not([type=range]), select, textarea, dialog")) return;
    if (event.key === "/") focusField();
    else if (event.key === "?") showKeys();
    else if (event.key === "r") reset();
    else if (event.key === "s") toggleLooks();
    else if (event.key.startsWith("Arrow") && (event.target === document.body || event.target.id === "results"))
      mainGrid()?.enter();
    else return;
    event.preventDefault();
  });
}

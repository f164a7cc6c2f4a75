// Thumbs up and down move the query; what moved it is shown beside the query and goes in one key.

import * as catalogue from "./catalogue.js";
import { button, byId, fill, h, say } from "./dom.js";
import { picture, point } from "./pictures.js";
import { change, now } from "./state.js";

const MOST = 100; // what the API takes

/** Likes or dislikes a result; doing it again takes it back. */
export function rate(id, way) {
  const state = now();
  const other = way === "more" ? "less" : "more";
  const given = state[way].includes(id) ? state[way].filter((each) => each !== id) : [...state[way], id].slice(-MOST);
  change({ [way]: given, [other]: state[other].filter((each) => each !== id) });
  say(given.includes(id) ? `${way === "more" ? "More" : "Less"} like this.` : "Taken back.");
}

export function reset() {
  if (!now().more.length && !now().less.length) return;
  change({ more: [], less: [] });
  say("Feedback reset.");
}

/** Draws what has moved the query. */
export function show(state, before) {
  const panel = byId("feedback");
  panel.hidden = !state.parts.length || (!state.more.length && !state.less.length);
  if (panel.hidden || (before && state.more === before.more && state.less === before.less && panel.childElementCount))
    return;
  fill(
    panel,
    h(
      "div",
      { class: "row" },
      h("h3", {}, "Moved by your feedback"),
      h("span", { class: "grow" }),
      button({ icon: "undo", text: "Reset", kind: "button small plain", act: reset, aria: { keyshortcuts: "r" } }),
    ),
    ["more", "less"].map(
      (way) =>
        state[way].length > 0 &&
        h(
          "div",
          { class: `rated ${way}` },
          h("span", { class: "small" }, way === "more" ? "More like" : "Less like"),
          h(
            "ul",
            {},
            state[way].map((id) => h("li", {}, thumb(id, way))),
          ),
        ),
    ),
  );
}

function thumb(id, way) {
  const small = picture("data:,", 120, "", false);
  const made = h(
    "button",
    { type: "button", class: "swatch", on: { click: () => rate(id, way) }, aria: { label: "Take it back" } },
    small,
  );
  catalogue.entry(catalogue.current(), id).then(
    (found) => {
      point(small, found.image, 120);
      made.setAttribute("aria-label", `Take back: ${catalogue.title(found)}`);
      made.title = `Take back: ${catalogue.title(found)}`;
    },
    () => made.classList.add("no-picture"),
  );
  return made;
}

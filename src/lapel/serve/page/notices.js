// Troubles, told above the results in words, each until it is over or put away.

import { button, byId, fill, h } from "./dom.js";

const told = new Map(); // subject -> element

/** Tells a trouble; ``acts`` are [words, function] pairs that may help. One subject has one notice. */
export function notice(subject, words, acts = []) {
  told.set(
    subject,
    h(
      "div",
      { class: "trouble" },
      h("p", {}, words),
      acts.map(([text, act]) =>
        button({
          text,
          kind: "button small",
          act: () => {
            clearNotice(subject);
            act();
          },
        }),
      ),
      button({ icon: "close", label: "Put this message away", kind: "round", act: () => clearNotice(subject) }),
    ),
  );
  show();
}

export function clearNotice(subject) {
  if (told.delete(subject)) show();
}

function show() {
  const place = byId("notice");
  fill(place, [...told.values()]);
  place.hidden = told.size === 0;
}

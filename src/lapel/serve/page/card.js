// One result: its picture, name, likeness and what can be done with it. What is done is told to the grid by data-act.

import { bars } from "./bars.js";
import * as catalogue from "./catalogue.js";
import { button, fill, h, number, percent, set, words } from "./dom.js";
import { picture, point } from "./pictures.js";
import { addressOfQuery } from "./state.js";

const SIDE = 320;

/** A card of a hit, or of an entry that was not ranked; ``show`` brings it up to date. */
export class Card {
  constructor(hit) {
    this.id = hit.id;
    this.image = picture(hit.image, SIDE);
    this.canvas = h("canvas", { class: "look", aria: { hidden: true } });
    this.pick = h(
      "a",
      { class: "pick", href: addressOfQuery(hit.id), tabindex: "-1", data: { act: "pick" } },
      this.image,
      this.canvas,
    );
    this.mark = h("span", { class: "mark", hidden: true });
    const act = (name, drawing, label, keys) =>
      button({
        icon: drawing,
        label,
        kind: "round act",
        tabindex: "-1",
        data: { act: name },
        aria: { keyshortcuts: keys },
      });
    this.more = act("more", "up", "More like this", "m");
    this.less = act("less", "down", "Less like this", "l");
    this.why = act("why", "eye", "Why this one", "w");
    this.mix = act("mix", "plus", "Mix it into the query", "x");
    this.fold = h("button", { type: "button", class: "fold", tabindex: "-1", hidden: true, data: { act: "fold" } });
    this.name = h("p", { class: "name" });
    this.alike = h("span", { class: "alike" });
    this.labels = h("p", { class: "labels" });
    this.bars = h("div", { class: "bars" });
    this.element = h(
      "li",
      { class: "card", data: { id: hit.id } },
      h(
        "div",
        { class: "tile" },
        this.pick,
        this.mark,
        this.fold,
        h("div", { class: "acts" }, this.more, this.less, this.why, this.mix),
      ),
      h("div", { class: "told" }, h("div", { class: "line" }, this.name, this.alike), this.labels, this.bars),
    );
    this.element.addEventListener("settled", ({ detail: good }) =>
      set(this.image, "alt", good ? "" : "This photograph cannot be shown"),
    );
  }

  /** Shows a hit under a state; ``ranked`` says whether it was scored, ``weights`` what counted. */
  show(hit, { state, weights = {}, floor = 0, folded = true, mark = null }) {
    this.hit = hit;
    point(this.image, hit.image, SIDE);
    this.pick.href = addressOfQuery(hit.id);
    const name = catalogue.title(hit);
    const cost = catalogue.price(hit);
    const ranked = hit.similarity !== undefined;
    this.name.textContent = name;
    this.name.title = name;
    this.alike.textContent = ranked ? percent(hit.similarity) : "";
    const counting = Object.keys(weights).filter((each) => weights[each]);
    const labels = (names) => names.flatMap((each) => hit.labels[each] ?? []);
    const wanted = counting.length < 4 ? labels(counting) : [];
    const told = wanted.length
      ? wanted
      : labels(["category", ...Object.keys(hit.scores ?? {}), ...Object.keys(hit.labels)]);
    const values = [...new Set(told)].filter((each) => each !== "none").map(words);
    this.labels.textContent = [cost === null ? null : number(cost), ...values]
      .filter(Boolean)
      .slice(0, 3)
      .join(" \u00b7 ");
    this.pick.setAttribute("aria-label", `Search with ${name}${ranked ? `, ${percent(hit.similarity)} alike` : ""}`);
    bars(this.bars, hit, weights, floor);
    const others = hit.others?.length ?? 0;
    this.fold.hidden = others === 0;
    this.fold.textContent = folded ? `+${others}` : "\u2212";
    set(this.fold, "aria-expanded", String(!folded));
    set(this.fold, "aria-label", `${others} more of ${name}`);
    const [liked, disliked] = [this.rated("more", state), this.rated("less", state)].map(Boolean);
    set(this.more, "aria-pressed", String(liked));
    set(this.less, "aria-pressed", String(disliked));
    const full = state.parts.length === 0 || state.parts.length >= 8;
    this.mix.hidden = full;
    for (const each of [this.more, this.less, this.why]) each.hidden = state.parts.length === 0;
    this.element.classList.toggle("liked", liked);
    this.element.classList.toggle("disliked", disliked);
    this.mark.hidden = !mark;
    if (mark) {
      this.mark.className = `mark ${mark.kind}`;
      fill(this.mark, mark.text);
      this.mark.title = mark.title;
    }
  }

  /** Which picture of its item was rated so, if any: after feedback another one may stand for the item. */
  rated(way, state) {
    return [this.hit.id, ...(this.hit.others ?? [])].find((id) => state[way].includes(id));
  }

  /** Makes it, or no longer, the one that the Tab key comes to. */
  current(is) {
    for (const each of [this.pick, this.more, this.less, this.why, this.mix, this.fold]) each.tabIndex = is ? 0 : -1;
  }
}

// A grid of cards: kept by id, so that what is found again stays where it is loaded; walked with the arrow keys.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { Card } from "./card.js";
import { arrange, h } from "./dom.js";
import { notice } from "./notices.js";
import { recallShape, watchShape } from "./shape.js";

export class Grid {
  /** ``act(name, card, info)`` is told what was done with a card: pick, more, less, why, mix, hover, leave. */
  constructor(info, label, act) {
    this.info = info;
    this.act = act;
    this.cards = new Map();
    this.open = new Map(); // id of an unfolded hit -> its variants as entries
    this.hits = [];
    this.order = [];
    this.element = h("ul", {
      class: "grid",
      aria: { label },
      on: {
        click: (event) => this.click(event),
        keydown: (event) => this.key(event),
        focusin: (event) => this.focus(event),
        mouseover: (event) => this.hover(event),
        mouseleave: () => this.act("leave", null, this.info),
      },
    });
    recallShape(info.name);
    watchShape(this.element, info.name);
  }

  /** Shows these hits in this order; ``context`` as in ``Card.show``, ``marks`` per id. */
  show(hits, context, marks = new Map()) {
    this.hits = hits;
    this.context = { ...context, marks };
    const held = this.element.contains(document.activeElement) ? this.order.indexOf(this.here) : -1;
    const floor = lowest(hits);
    const listed = hits.flatMap((hit) => [hit, ...(this.open.get(hit.id) ?? [])]);
    const seen = new Set();
    const cards = [];
    for (const hit of listed) {
      if (seen.has(hit.id)) continue; // without an item, or liked twice: a card is there once
      seen.add(hit.id);
      const card = this.cards.get(hit.id) ?? new Card(hit);
      this.cards.set(hit.id, card);
      card.show(hit, { ...context, floor, folded: !this.open.has(hit.id), mark: marks.get(hit.id) ?? null });
      card.element.classList.toggle("variant", hit.similarity === undefined && context.ranked === true);
      cards.push(card);
    }
    for (const id of this.cards.keys()) if (!seen.has(id)) this.cards.delete(id);
    arrange(
      this.element,
      cards.map((card) => card.element),
    );
    this.order = cards;
    if (!cards.some((card) => card === this.here)) this.here = null;
    for (const card of cards) card.current(card === (this.here ?? cards[0]));
    // The card that had the focus is gone: the one in its place takes it.
    if (held >= 0 && !this.element.contains(document.activeElement))
      cards[Math.min(held, cards.length - 1)]?.pick.focus({ preventScroll: true });
  }

  clear() {
    this.open.clear();
    this.show([], this.context ?? { state: { more: [], less: [], parts: [] } });
  }

  cardAt(node) {
    return this.cards.get(node?.closest?.(".card")?.dataset.id);
  }

  click(event) {
    const card = this.cardAt(event.target);
    const name = event.target.closest("[data-act]")?.dataset.act;
    if (!card || !name) return;
    // Links stay links: a new tab, a new window, a saved picture.
    if (name === "pick" && (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey)) return;
    event.preventDefault();
    if (name === "fold") this.unfold(card);
    else this.act(name, card, this.info);
  }

  hover(event) {
    const card = this.cardAt(event.target);
    if (card) this.act("hover", card, this.info);
  }

  /** Opens the variants that are folded under a card, or folds them again. */
  async unfold(card) {
    const { id, others } = card.hit;
    if (this.open.has(id)) this.open.delete(id);
    else if (others?.length) {
      try {
        this.open.set(id, await Promise.all(others.map((other) => catalogue.entry(this.info, other))));
      } catch (error) {
        if (!api.isCancelled(error)) notice("variants", `The variants cannot be shown: ${error.message}`);
        return;
      }
    }
    this.show(this.hits, this.context, this.context.marks);
  }

  focus(event) {
    const card = this.cardAt(event.target);
    if (!card || card === this.here) return;
    (this.here ?? this.order[0])?.current(false);
    this.here = card;
    card.current(true);
    this.act("hover", card, this.info);
  }

  /** Takes the keyboard to the first card, or to the one it was at. */
  enter() {
    (this.here ?? this.order[0])?.pick.focus();
  }

  key(event) {
    const card = this.cardAt(event.target);
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = this.step(event.key, card);
    const named = { m: "more", l: "less", w: "why", x: "mix", v: "fold" }[event.key];
    if (step !== null) {
      event.preventDefault();
      this.order[step]?.pick.focus();
      this.order[step]?.element.scrollIntoView({ block: "nearest" });
    } else if (named && !(named === "mix" && card.mix.hidden)) {
      event.preventDefault();
      if (named === "fold") this.unfold(card);
      else this.act(named, card, this.info);
    }
  }

  /** Where a key leads from a card; null if it is no key to walk with. */
  step(key, card) {
    const at = this.order.indexOf(card);
    const last = this.order.length - 1;
    const top = card.element.offsetTop;
    const across = Math.max(1, this.order.filter((each) => each.element.offsetTop === top).length);
    const wide = Math.max(
      across,
      this.order.filter((each) => each.element.offsetTop === this.order[0].element.offsetTop).length,
    );
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - wide, ArrowDown: at + wide, Home: 0, End: last }[
      key
    ];
    if (to === undefined) return null;
    if (key === "ArrowDown" && to > last && at < last) return last;
    return to < 0 || to > last ? at : to;
  }
}

/** The least cosine of what is shown, from which bars rise: what is shown is alike, and differs in the last part. */
function lowest(hits) {
  const all = hits.slice(0, 48).flatMap((hit) => Object.values(hit.scores ?? {}));
  return Math.max(0, Math.min(0.9, ...all) - 0.02);
}

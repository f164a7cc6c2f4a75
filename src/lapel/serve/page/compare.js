// Two indexes on the same query, side by side: what only one finds, and what moved.

import { searchOf } from "./asking.js";
import * as catalogue from "./catalogue.js";
import { fill, h, words } from "./dom.js";
import { Finder } from "./finder.js";
import { Grid } from "./grid.js";
import { unknownColumns, without } from "./where.js";

export class Comparison {
  constructor(info, other, act) {
    Object.assign(this, { info, other, names: `${info.name} ${other.name}` });
    this.finder = new Finder();
    this.left = new Grid(info, `Results of ${info.name}`, act);
    this.right = new Grid(other, `Results of ${other.name}`, act);
    this.summary = h("p", { class: "summary", role: "status" });
    this.unlike = h("p", { class: "small muted" });
    const column = (grid, index) =>
      h("section", { aria: { label: index.name } }, h("h3", {}, index.name), grid.element);
    this.element = h(
      "div",
      { class: "comparison" },
      this.summary,
      this.unlike,
      h("div", { class: "columns" }, column(this.left, info), column(this.right, other)),
    );
  }

  /** Asks the other index the same. */
  async search(state) {
    const asked = searchOf(state, this.other, this.info);
    const own = await this.own(state);
    if (own.length) asked.where = [asked.where, without(own)].filter(Boolean).join(" AND ");
    // Ids of feedback are of the first index; another catalogue may not have them.
    const result = await this.finder.first(asked).catch((error) => {
      if (!["not_found", "bad_request"].includes(error.code) || !(asked.more || asked.less)) throw error;
      const { more: _more, less: _less, ...unmoved } = asked;
      return this.finder.first(unmoved).then((found) => ({ ...found, unmoved: true }));
    });
    return result;
  }

  /** Garments searched with that are in the other index too, where they would find themselves. */
  async own(state) {
    if (!("image" in catalogue.kinds(this.other))) return [];
    const ids = state.parts
      .filter((part) => part.id && (part.of ?? this.info.name) === this.info.name)
      .map((part) => part.id);
    const told = ({ item, metadata }) => JSON.stringify([item, metadata]);
    const same = await Promise.all(
      ids.map(async (id) => {
        const [here, there] = await Promise.allSettled([
          catalogue.entry(this.info, id),
          catalogue.entry(this.other, id),
        ]);
        // Another catalogue may give the same name to another garment.
        return here.value && there.value && told(here.value) === told(there.value);
      }),
    );
    return ids.filter((_, place) => same[place]);
  }

  next(result) {
    return this.finder.next(result);
  }

  show(left, right, context) {
    const [mine, theirs] = [ranks(left.hits), ranks(right.hits)];
    this.left.show(left.hits, context, marks(left.hits, theirs, this.other.name));
    this.right.show(right.hits, { ...context, weights: right.weights }, marks(right.hits, mine, this.info.name));
    const both = [...mine.keys()].filter((key) => theirs.has(key)).length;
    fill(
      this.summary,
      h("b", {}, both),
      " in both, ",
      h("b", {}, mine.size - both),
      ` only in ${this.info.name}, `,
      h("b", {}, theirs.size - both),
      ` only in ${this.other.name}`,
    );
    const [has, had] = [this.other, this.info].map((each) => new Set(each.attributes.map(({ name }) => name)));
    const unlike = [
      ...unknownColumns(context.state, catalogue.kinds(this.other)).map(
        (name) => `${this.other.name} has no ${words(name)} to filter by`,
      ),
      ...[...had].filter((name) => !has.has(name)).map((name) => `${this.other.name} cannot search by ${words(name)}`),
      ...(right.unmoved ? [`${this.other.name} does not have the garments of your feedback`] : []),
    ];
    this.unlike.textContent = unlike.join("; ");
    this.unlike.hidden = !unlike.length;
  }
}

/** What a hit is known by in two catalogues: its item, or its own id. */
const keyOf = (hit) => hit.item ?? hit.id;

const ranks = (hits) => new Map(hits.map((hit, rank) => [keyOf(hit), rank]).reverse());

/** How each hit stands in the other list: nothing said of those in the same place. */
export function marks(hits, others, name) {
  const told = new Map();
  hits.forEach((hit, rank) => {
    const there = others.get(keyOf(hit));
    if (there === undefined)
      told.set(hit.id, { kind: "only", text: "only here", title: `Not among the first ${others.size} of ${name}` });
    else if (there !== rank) {
      const up = there > rank;
      told.set(hit.id, {
        kind: up ? "higher" : "lower",
        text: `${up ? "\u2191" : "\u2193"}\u2009${Math.abs(there - rank)}`,
        title: `${rank + 1}. here, ${there + 1}. in ${name}`,
      });
    }
  });
  return told;
}

// Two ends of a range of numbers: a slider with two thumbs, and a field for each end.

import { h, set, words } from "./dom.js";

const STEPS = 200;

/** A range over a column's numbers; ``chosen`` gets [low, high], null for an open end, or null for all of it. */
export function rangeOf(column, chosen) {
  const whole = column.kind === "integer";
  const [least, most] = whole
    ? [column.low, column.high]
    : [Math.floor(column.low * 100) / 100, Math.ceil(column.high * 100) / 100];
  const step = whole ? 1 : Math.max(0.01, Number(((most - least) / STEPS).toPrecision(1)));
  const named = words(column.name);
  const slider = (end) =>
    h("input", { type: "range", min: least, max: most, step: whole ? 1 : "any", aria: { label: `${end} ${named}` } });
  const field = (end) =>
    h("input", { type: "number", min: least, max: most, step: whole ? 1 : "any", aria: { label: `${end} ${named}` } });
  const ends = [slider("Least"), slider("Greatest")];
  const fields = [field("Least"), field("Greatest")];
  const track = h("div", { class: "two-ends" }, ends);

  const draw = () => {
    const [low, high] = ends.map((each) => Number(each.value));
    const share = (value) => `${(100 * (value - least)) / (most - least)}%`;
    track.style.setProperty("--from", share(low));
    track.style.setProperty("--to", share(high));
    ends.forEach((each, place) => set(each, "aria-valuetext", fields[place].value));
  };
  const rounded = (value) => (whole ? Math.round(value) : Number((Math.round(value / step) * step).toFixed(2)));
  const take = () => {
    const [a, b] = fields.map((each, place) => {
      const given = each.value === "" ? [least, most][place] : Number(each.value);
      return Math.min(most, Math.max(least, given));
    });
    const [low, high] = a <= b ? [a, b] : [b, a];
    const open = [low <= least ? null : low, high >= most ? null : high];
    chosen(open.some((end) => end !== null) ? open : null);
  };
  ends.forEach((each, place) => {
    each.addEventListener("input", () => {
      // The thumbs may meet but not pass.
      const other = Number(ends[1 - place].value);
      const value = place === 0 ? Math.min(Number(each.value), other) : Math.max(Number(each.value), other);
      each.value = value;
      fields[place].value = value <= least ? least : value >= most ? most : rounded(value);
      draw();
    });
    each.addEventListener("change", take);
  });
  for (const each of fields) each.addEventListener("change", take);

  return {
    element: h(
      "div",
      { class: "range" },
      track,
      h("div", { class: "fields" }, fields[0], h("span", { class: "muted" }, "to"), fields[1]),
    ),
    show(low, high) {
      const shown = [low ?? least, high ?? most];
      shown.forEach((value, place) => {
        ends[place].value = value;
        fields[place].value = value;
      });
      draw();
    },
  };
}

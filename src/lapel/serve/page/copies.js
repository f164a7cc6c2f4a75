// Copies: files that are there twice, and designs that look alike, in one catalogue or between two.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { button, byId, fill, h, icon, number, percent, set, words } from "./dom.js";
import { picture } from "./pictures.js";
import { recallShape, watchShape } from "./shape.js";
import { addressOfQuery, change, now } from "./state.js";
import { token } from "./token.js";
import { EMPTY, write } from "./address.js";

const PAGE = 24;
const SIDE = 320;

let built = null; // the controls and places of the page
let running = null;
let shown = null; // {key, offset, left}

/** Draws the page of copies for a state. */
export function show(state) {
  const info = catalogue.current(state);
  if (built?.index !== info.name) build(info);
  const least = state.least ?? 0;
  built.attribute.value = state.attribute ?? "";
  if (built.against) built.against.value = state.against ?? "";
  if (document.activeElement !== built.least) built.least.value = least;
  built.least.style.setProperty("--from", "0%");
  built.least.style.setProperty("--to", `${200 * Math.max(0, least - 0.5)}%`);
  built.least.classList.toggle("off", state.least === null);
  built.figure.textContent = state.least === null ? "any" : percent(state.least);
  set(built.least, "aria-valuetext", state.least === null ? "any likeness" : `${percent(state.least)} alike`);
  built.within.checked = state.within;
  const asked = askedOf(state, info);
  built.table.href = `/v1/copies.csv?${api.parameters(asked)}`;
  if (shown?.key !== JSON.stringify(asked)) find(asked);
}

const askedOf = (state, info) => ({
  index: info.name,
  against: state.against,
  attribute: state.attribute,
  threshold: state.least,
  within_item: state.within ? true : null,
});

function build(info) {
  const others = catalogue.indexes().filter((each) => each.name !== info.name);
  const choice = (id, none, options, field) =>
    h(
      "select",
      { id, on: { change: (event) => change({ [field]: event.target.value || null }) } },
      h("option", { value: "" }, none),
      options.map(([value, text]) => h("option", { value }, text)),
    );
  const tool = (text, id, ...controls) => h("div", { class: "tool" }, h("label", { for: id }, text), controls);
  const least = h("input", {
    type: "range",
    id: "copies-least",
    min: 0.5,
    max: 1,
    step: 0.005,
    on: {
      input: () => show({ ...now(), least: takeLeast() }),
      change: () => change({ least: takeLeast() }),
    },
  });
  const takeLeast = () => (Number(least.value) > 0.5 ? Number(least.value) : null);
  built = {
    index: info.name,
    attribute: choice(
      "copies-attribute",
      "everything",
      info.attributes.map(({ name, item }) => [name, item ? "the item" : words(name)]),
      "attribute",
    ),
    against: others.length
      ? choice(
          "copies-against",
          "itself",
          others.map(({ name }) => [name, name]),
          "against",
        )
      : null,
    least,
    figure: h("output", { for: "copies-least" }),
    within: h("input", {
      type: "checkbox",
      id: "copies-within",
      on: { change: (event) => change({ within: event.target.checked }) },
    }),
    table: h(
      "a",
      { class: "button small", download: "copies.csv", on: { click: download } },
      icon("load"),
      "Download as CSV",
    ),
    rule: h("p", { class: "muted" }),
    status: h("div", { class: "status", role: "status" }),
    exact: h("section", { aria: { labelledby: "exact-title" }, hidden: true }),
    alike: h("section", { aria: { labelledby: "alike-title" }, hidden: true }),
    more: h("div", { class: "end" }),
  };
  recallShape(info.name);
  watchShape(byId("copies"), info.name);
  fill(
    byId("copies"),
    h("header", {}, h("h1", {}, "Copies"), built.rule),
    h(
      "div",
      { class: "tools" },
      tool("Alike in", "copies-attribute", built.attribute),
      built.against && tool("Compare with", "copies-against", built.against),
      tool("At least", "copies-least", built.least, built.figure),
      h("div", { class: "tool" }, built.within, h("label", { for: "copies-within" }, "also pictures of one item")),
      h("span", { class: "grow" }),
      built.table,
    ),
    built.status,
    built.exact,
    built.alike,
    built.more,
  );
}

async function find(asked) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const key = JSON.stringify(asked);
  shown = { key, offset: 0, left: false };
  for (const each of [built.exact, built.alike]) each.classList.add("old");
  const slow = setTimeout(
    () => wait("Comparing every picture with every other\u2026 the first time takes some seconds."),
    200,
  );
  try {
    const found = await api.copies({ ...asked, limit: PAGE }, signal, wait);
    if (signal.aborted) return;
    built.rule.textContent = found.rule;
    draw(built.exact, "exact-title", "The same file", "under several names", found.exact, found.exact_total);
    draw(
      built.alike,
      "alike-title",
      "Look-alikes",
      "those that stand out most first",
      found.groups,
      found.groups_total,
    );
    shown = { key, offset: PAGE, left: found.left };
    drawMore(asked);
    fill(
      built.status,
      !found.exact_total &&
        !found.groups_total &&
        h(
          "div",
          { class: "empty" },
          h("h2", {}, "No copies"),
          h(
            "p",
            { class: "muted" },
            asked.threshold
              ? "Nothing is as alike as that: lower the threshold."
              : "Nothing in this catalogue looks like a copy of something else.",
          ),
        ),
    );
  } catch (error) {
    if (api.isCancelled(error)) return;
    shown = null;
    fill(
      built.status,
      h(
        "div",
        { class: "notice" },
        h("p", {}, `Copies cannot be found: ${error.message}`),
        button({ text: "Try again", kind: "button small", act: () => show(now()) }),
      ),
    );
  } finally {
    clearTimeout(slow);
    if (!signal.aborted) for (const each of [built.exact, built.alike]) each.classList.remove("old");
  }
}

/** Says what is waited for; a server that is at it tells how far it is. */
function wait(words) {
  fill(
    built.status,
    h("p", { class: "progress muted" }, h("span", { class: "busy-ring", aria: { hidden: true } }), words),
  );
}

function draw(section, id, title, told, groups, total) {
  section.hidden = !total;
  fill(
    section,
    h("h2", { id }, title, h("span", { class: "muted" }, ` ${number(total)}`)),
    h("p", { class: "small muted" }, told),
    h("ul", { class: "groups" }, groups.map(groupOf)),
  );
}

function drawMore(asked) {
  fill(
    built.more,
    shown.left &&
      button({
        text: "Show more",
        act: async () => {
          const before = shown;
          const { signal } = running;
          try {
            const found = await api.copies({ ...asked, limit: PAGE, offset: before.offset }, signal);
            if (shown !== before) return;
            built.exact.querySelector(".groups")?.append(...found.exact.map(groupOf));
            built.alike.querySelector(".groups")?.append(...found.groups.map(groupOf));
            shown = { ...before, offset: before.offset + PAGE, left: found.left };
            drawMore(asked);
          } catch (error) {
            if (!api.isCancelled(error))
              fill(built.status, h("p", { class: "notice" }, `The next ones cannot be shown: ${error.message}`));
          }
        },
      }),
  );
}

function groupOf({ images, pairs }) {
  const [best] = pairs;
  const home = built.index;
  const told =
    best &&
    [
      `${percent(best.similarity)} alike`,
      `${best.nearness.toFixed(1)}\u00d7 nearer than the rest`,
      ...(best.same_item ? ["one item"] : []),
      ...(best.same_file ? ["parts of one file"] : []),
    ].join(" \u00b7 ");
  const differs = Object.entries(best?.differs ?? {});
  const beside = best && best.first !== best.second;
  return h(
    "li",
    { class: "group" },
    h(
      "ul",
      { class: "twins" },
      images.map((image) =>
        h(
          "li",
          {},
          h(
            "a",
            {
              class: "pick",
              href: searchOf(image),
              aria: { label: `Search with ${catalogue.title(image)}` },
              on: { click: go },
            },
            picture(image.image, SIDE),
          ),
          h("p", { class: "name", title: image.id }, catalogue.title(image)),
          h(
            "p",
            { class: "labels" },
            [image.index !== home || built.against?.value ? image.index : null, image.item]
              .filter(Boolean)
              .join(" \u00b7 "),
          ),
        ),
      ),
    ),
    told && h("p", { class: "figures" }, told),
    differs.length > 0 &&
      h(
        "p",
        { class: "small muted" },
        `Labelled apart: ${differs
          .map(([name, [ours, theirs]]) => `${words(name)} ${ours.join(", ")} / ${theirs.join(", ")}`)
          .join("; ")}`,
      ),
    beside &&
      images.every((image) => image.index === home) &&
      h("a", { class: "small", href: whyOf(best), on: { click: go } }, "Side by side"),
  );
}

const searchOf = (image) =>
  image.index === catalogue.current().name
    ? addressOfQuery(image.id)
    : write({ ...EMPTY, index: image.index, parts: [{ id: image.id }] });

const whyOf = (pair) => write({ ...EMPTY, index: now().index, parts: [{ id: pair.first }], why: pair.second });

/** Follows a link within the page. */
function go(event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState({ scroll: 0 }, "", event.currentTarget.getAttribute("href"));
  dispatchEvent(new PopStateEvent("popstate"));
}

/** A link carries no token: with one, the file is fetched and then handed over. */
async function download(event) {
  if (!token()) return;
  event.preventDefault();
  try {
    const bytes = await (await api.request(built.table.getAttribute("href"))).blob();
    const local = URL.createObjectURL(bytes);
    h("a", { href: local, download: "copies.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(local), 60_000);
  } catch (error) {
    fill(built.status, h("p", { class: "notice" }, `The file cannot be fetched: ${error.message}`));
  }
}

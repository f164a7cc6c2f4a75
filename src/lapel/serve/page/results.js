// What is found: one endless grid, the two of a comparison, or some of the catalogue before there is a query.

import * as api from "./api.js";
import { allOff, searchOf } from "./asking.js";
import { browseMore, sample } from "./browse.js";
import * as catalogue from "./catalogue.js";
import { Comparison } from "./compare.js";
import { button, byId, fill, h, number, say } from "./dom.js";
import { Finder } from "./finder.js";
import { Grid } from "./grid.js";
import { empty, trouble } from "./nothing.js";
import { clearNotice, notice } from "./notices.js";
import { keepPlace, now, place } from "./state.js";
import { inWords, showEffective, showLikely } from "./tuning.js";
import { where } from "./where.js";

const WAIT_MS = 60;
const BUSY_MS = 150;
const AHEAD = 900; // pixels below the screen at which the next page is asked for

const finder = new Finder();
let grid = null;
let comparison = null;
let act = () => {};
let heard = () => {};
let renew = () => {};
let shown = null; // what is in the grid: {key, hits, left, ...}
let likely = { key: null, values: null };
let waiting = null;
let begun = -Infinity; // when the last search began
let asking = 0; // number of the newest search
let total = null; // pictures that pass the filter, of all

/** Takes what is done with cards, who is told of what was found, and who renews all when the index has changed. */
export function setUp(acts, found, changed) {
  act = acts;
  heard = found;
  renew = changed;
  new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && loadMore(), {
    rootMargin: `${AHEAD}px`,
  }).observe(byId("end"));
  // The end may come near without an event of its own: tiles take their shape, a window grows.
  new ResizeObserver(topUp).observe(byId("results"));
}

/** The grid that the keyboard goes to. */
export const mainGrid = () => comparison?.left ?? grid;
export const likelyValues = () => likely.values;
export const found = () => shown;

/** Tells how many pictures pass the filter. */
export function setTotal(count, all) {
  total = { count, all };
  drawCount();
}

/** Brings what is found to a state; ``passing`` changes wait a moment for the next one. */
export function refresh(state, { moved = false } = {}) {
  clearTimeout(waiting);
  asking += 1;
  const mine = asking;
  const info = catalogue.current(state);
  const asked = searchOf(state, info, info);
  const key = asked
    ? JSON.stringify([asked, catalogue.compared(state)?.name])
    : JSON.stringify([info.name, where(state, catalogue.kinds(info)), "start"]);
  if (shown?.key === key) {
    redraw(state);
    if (moved) restore();
    return;
  }
  if (asked && allOff(asked)) {
    notice("weights", "Every attribute is off: turn at least one up or down.");
    return;
  }
  clearNotice("weights");
  const go = () => run(state, info, asked, key, moved, () => mine === asking);
  // The first move is answered at once, those that follow it closely together.
  const wait = Math.max(0, WAIT_MS - (performance.now() - begun));
  if (asked && finder.knows(asked) && !catalogue.compared(state)) go();
  else
    waiting = setTimeout(() => {
      begun = performance.now();
      go();
    }, wait);
}

async function run(state, info, asked, key, moved, newest) {
  const busy = setTimeout(() => setBusy(true), BUSY_MS);
  try {
    const result = asked ? await searched(state, info, asked) : await started(state, info);
    if (!newest()) return;
    clearNotice("search");
    const sameQuery =
      shown?.asked && asked && JSON.stringify(shown.asked.parts.map(bare)) === JSON.stringify(asked.parts.map(bare));
    if (result.index?.version !== undefined && result.index.version !== info.version) {
      await renew();
      return;
    }
    shown = { ...result, key };
    if (!sameQuery) grid?.open.clear();
    redraw(state);
    heard();
    if (moved) restore();
    else toTop(sameQuery);
    topUp();
    if (asked) say(shown.hits.length ? `${shown.hits.length} garments found.` : "Nothing found.");
  } catch (error) {
    if (api.isCancelled(error) || !newest()) return;
    trouble(error, state, () => refresh(now()));
  } finally {
    clearTimeout(busy);
    if (newest()) setBusy(false);
  }
}

/** Other results are read from their beginning; a new query brings the query into sight as well. */
function toTop(sameQuery) {
  const top = sameQuery ? byId("filters").offsetTop - 70 : 0;
  if (scrollY > Math.max(0, top)) scrollTo(0, Math.max(0, top));
}

const bare = ({ weights: _, ...part }) => part;

async function searched(state, info, asked) {
  const other = catalogue.compared(state);
  const query = JSON.stringify([info.name, info.version, asked.parts.map(bare)]);
  const wanted = likely.key !== query;
  const first = finder.first(asked, wanted);
  const right = other ? compare(info, other).search(state) : null;
  // Both are waited for: neither may be left to fail unheard.
  const [mine, theirs] = await Promise.allSettled([first, right]);
  for (const each of [mine, theirs]) if (each.status === "rejected") throw each.reason;
  if (mine.value.likely) likely = { key: query, values: mine.value.likely };
  return { ...mine.value, source: mine.value, right: theirs.value };
}

async function started(state, info) {
  finder.stop();
  const hits = await sample(where(state, catalogue.kinds(info)));
  return { hits, left: false, weights: {}, asked: null };
}

function compare(info, other) {
  if (comparison?.names !== `${info.name} ${other.name}`)
    comparison = new Comparison(info, other, (...given) => act(...given));
  return comparison;
}

/** Draws what was found for a state; nothing is asked. */
function redraw(state = now()) {
  const info = catalogue.current(state);
  if (!shown) return;
  const place = byId("results");
  const context = { state, weights: shown.weights, ranked: Boolean(shown.asked) };
  if (shown.right) {
    grid = null;
    comparison.show(shown.source, shown.right, context);
    if (!place.contains(comparison.element)) fill(place, comparison.element);
  } else {
    comparison = null;
    if (grid?.info.name !== info.name) grid = new Grid(info, "Results", (...given) => act(...given));
    grid.info = info;
    grid.show(shown.hits, context);
    if (place.firstElementChild !== grid.element || place.childElementCount > 1) fill(place, grid.element);
    if (!shown.hits.length) fill(place, empty(state, shown.asked));
  }
  byId("heading").textContent = shown.asked ? inWords(shown.weights) : "From the catalogue";
  if (shown.asked) {
    showEffective(shown.weights);
    showLikely(likely.values);
  }
  drawCount();
  drawEnd();
}

function drawCount() {
  const passing =
    total && total.count !== total.all
      ? `${number(total.count)} of ${number(total.all)}`
      : total
        ? number(total.all)
        : "";
  const words = shown?.asked ? `among ${passing} pictures` : `${passing} pictures`;
  byId("count").textContent = total && shown && !shown.right ? words : "";
}

function drawEnd() {
  const end = byId("end");
  if (!shown.asked) {
    fill(
      end,
      shown.hits.length > 0 &&
        button({
          text: "Show others",
          act: () => {
            browseMore();
            shown.key = null;
            refresh(now());
          },
        }),
    );
  } else if (shown.right) {
    const more = shown.source.left || shown.right.left;
    fill(end, more ? button({ text: "Show more of both", act: loadMore }) : "That is all of both.");
  } else if (shown.source.left) fill(end, h("span", { class: "busy-ring", aria: { hidden: true } }));
  else if (shown.hits.length)
    fill(
      end,
      shown.hits.length === 1 ? "That is all: one garment." : `That is all: ${number(shown.hits.length)} garments.`,
    );
  else fill(end);
}

let loading = null;

/** Adds the next page. */
function loadMore() {
  if (loading || !shown?.asked || finder.running || now().view !== "search") return loading;
  const from = shown;
  const jobs = [from.source.left && finder.next(from.source), from.right?.left && comparison.next(from.right)].filter(
    Boolean,
  );
  if (!jobs.length) return null;
  loading = Promise.all(jobs)
    .then(
      () => {
        if (shown !== from) return;
        shown.hits = shown.source.hits;
        redraw(now());
      },
      (error) => {
        if (!api.isCancelled(error)) trouble(error, now(), () => refresh(now()));
      },
    )
    .finally(() => {
      loading = null;
      topUp();
    });
  return loading;
}

/** Loads on where the end is on the screen already, and so brings no event. */
function topUp() {
  if (
    shown?.asked &&
    !shown.right &&
    shown.source.left &&
    byId("end").getBoundingClientRect().top < innerHeight + AHEAD
  )
    loadMore();
}

/** Goes back down to where the page was, loading what that needs. */
async function restore() {
  const wanted = place();
  for (let pages = 0; pages < 12 && shown?.asked && shown.source.left; pages += 1) {
    if (document.documentElement.scrollHeight >= wanted + innerHeight) break;
    await loadMore();
  }
  scrollTo(0, wanted);
}

/** Forgets what was found: the next search is asked anew. What is shown stays until then. */
export function forget() {
  finder.forget();
  likely = { key: null, values: null };
  comparison = null;
  if (shown) shown.key = null;
}

function setBusy(is) {
  const place = byId("results");
  place.setAttribute("aria-busy", String(is));
  place.parentElement.classList.toggle("busy", is);
}

addEventListener("pagehide", keepPlace);
history.scrollRestoration = "manual";

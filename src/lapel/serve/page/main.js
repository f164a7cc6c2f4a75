// The beginning: reads what is served, then keeps every part of the page with the state.

import { EMPTY } from "./address.js";
import * as catalogue from "./catalogue.js";
import * as copies from "./copies.js";
import { byId, fill, h, icon, number, set } from "./dom.js";
import * as feedback from "./feedback.js";
import * as filters from "./filters.js";
import * as hovering from "./hovering.js";
import * as keys from "./keys.js";
import { onReturn } from "./live.js";
import { notice } from "./notices.js";
import * as query from "./query.js";
import * as results from "./results.js";
import { listen as listenForPhotographs } from "./sending.js";
import { ask, change, follow, now } from "./state.js";
import * as tools from "./tools.js";
import * as tuning from "./tuning.js";
import * as why from "./why.js";

const FILTERING = ["values", "missing", "ranges", "has", "index"];
const SEARCHING = [...FILTERING, "parts", "least", "more", "less", "other"];

/** What is done with a card. */
function act(name, card, info) {
  const state = now();
  if (name === "pick") ask([{ id: card.id, ...(info.name !== catalogue.current().name && { of: info.name }) }]);
  else if (name === "more" || name === "less") feedback.rate(card.rated(name, state) ?? card.id, name);
  else if (name === "why") change({ why: card.id });
  else if (name === "mix") change({ parts: [...state.parts, { id: card.id }].slice(0, 8), active: state.parts.length });
  else if (name === "hover") hovering.over(card, info);
  else if (name === "leave") hovering.leave();
}

function show(state, before, { moved = false } = {}) {
  const differs = (names) => !before || names.some((name) => state[name] !== before[name]);
  const copying = state.view === "copies";
  byId("search").hidden = copying;
  byId("copies").hidden = !copying;
  set(byId("to-search"), "aria-current", copying ? null : "page");
  set(byId("to-copies"), "aria-current", copying ? "page" : null);
  drawAbout(state);
  if (copying) {
    copies.show(state);
    why.show(state);
    return;
  }
  if (differs(["parts", "active", "view", "index"])) {
    query.show(state);
    tuning.show(state);
  }
  if (differs(["more", "less", "parts", "view"])) feedback.show(state, before);
  tools.show(state);
  if (differs([...FILTERING, "view"])) filters.show(state);
  if (differs([...SEARCHING, "view"])) results.refresh(state, { moved });
  if (differs(["by", "parts", "other"])) hovering.leave();
  if (differs(["why", "by", "more", "less"])) why.show(state);
}

function drawAbout(state) {
  const all = catalogue.indexes();
  const info = catalogue.current(state);
  byId("index-picker").hidden = all.length < 2;
  byId("index").value = info.name;
  byId("about").textContent = `${number(info.images)} pictures`;
  byId("about").title = `${info.name}, version ${info.version}, ${info.runs.map((run) => run.name).join(", ")}`;
  byId("to-copies").href = `/?view=copies${state.index ? `&index=${encodeURIComponent(state.index)}` : ""}`;
  if (state.view === "copies") document.title = "Copies \u2013 Lapel";
  else if (!state.parts.length) document.title = "Lapel";
}

function drawFrame() {
  const picker = byId("index");
  fill(
    picker,
    catalogue.indexes().map(({ name }) => h("option", { value: name }, name)),
  );
  picker.addEventListener("change", () => {
    const { parts } = now();
    const home = catalogue.current().name;
    // Garments of the index that was left stay the query: the other one embeds their pictures.
    const kept = parts.map((part) => {
      const { of = home, weights: _, ...rest } = part;
      return part.id && of !== picker.value ? { ...rest, of } : rest;
    });
    change({ index: picker.value, parts: kept, more: [], less: [], other: null, why: null, by: null });
  });
  byId("to-search").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({ view: "search" });
  });
  document.querySelector(".brand").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({ ...EMPTY, index: now().index });
  });
  byId("to-copies").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    change({ view: "copies", attribute: null, least: null, against: null, within: false });
  });
  byId("help").append(icon("keys"));
  byId("help").addEventListener("click", keys.showKeys);
  drawTheme();
}

const THEMES = [
  [null, "auto", "as the system"],
  ["light", "sun", "light"],
  ["dark", "moon", "dark"],
];

function drawTheme() {
  const root = document.documentElement;
  const pressed = byId("theme");
  const at = () =>
    Math.max(
      0,
      THEMES.findIndex(([name]) => name === (root.dataset.theme ?? null)),
    );
  const draw = () => {
    const [, drawing, told] = THEMES[at()];
    fill(pressed, icon(drawing));
    pressed.setAttribute("aria-label", `Colours: ${told}. Change`);
    pressed.title = `Colours: ${told}`;
  };
  pressed.addEventListener("click", () => {
    const [name] = THEMES[(at() + 1) % THEMES.length];
    if (name) root.dataset.theme = name;
    else delete root.dataset.theme;
    try {
      if (name) localStorage.setItem("lapel-theme", name);
      else localStorage.removeItem("lapel-theme");
    } catch {
      /* it holds until the page is left */
    }
    draw();
  });
  draw();
}

async function begin() {
  keys.listen();
  listenForPhotographs();
  try {
    await catalogue.load();
  } catch (error) {
    notice("start", `The catalogue cannot be read: ${error.message}`, [["Try again", () => location.reload()]]);
    return;
  }
  drawFrame();
  filters.setUp(results.setTotal);
  results.setUp(
    act,
    () => {
      why.refresh(now());
      query.askAgain();
    },
    renew,
  );
  follow(show);
  onReturn(renew);
  show(now(), null, { moved: true });
}

/** The index has changed, or the server has come back perhaps with another one: everything is asked anew. */
async function renew() {
  await catalogue.load();
  results.forget();
  show(now(), null, { moved: true });
}

begin();

// The query: the photograph or garment searched with, its crop, and further garments mixed in.

import * as api from "./api.js";
import { surprise } from "./browse.js";
import * as catalogue from "./catalogue.js";
import { Cropper } from "./crop.js";
import { button, byId, fill, h, icon, say, words } from "./dom.js";
import { recall } from "./photos.js";
import { picture, point } from "./pictures.js";
import { onSending, use } from "./sending.js";
import { activePart, change, changePart, now } from "./state.js";

const SIDE = 640;
const local = new Map(); // query -> address of the photograph in this browser
const known = new Map(); // part -> what is known of it: {size, suggested, title, labels, address}

const cropper = new Cropper((box) => changePart({ box: box ?? undefined }));
const image = picture("data:,", SIDE, "", false);
const subject = h("div", { class: "subject" }, image, cropper.element);
const veil = h("canvas", { class: "look", aria: { hidden: true } });
subject.append(veil);
const title = h("p", { class: "title" });
const acts = h("div", { class: "acts" });
const mixed = h("div", { class: "mixed" });
let sending = null;

/** The picture of the query, and the canvas over it, for showing where the model looks. */
export const stage = () => ({ picture: image, canvas: veil });

const keyOf = (part) => (part.id ? `id ${part.of ?? catalogue.current()?.name} ${part.id}` : `query ${part.query}`);

/** What is known of a part: its size, suggested crop, name and address. */
export async function facts(part) {
  const key = keyOf(part);
  if (!known.has(key)) known.set(key, await (part.id ? factsOfEntry(part) : factsOfPhoto(part)));
  return known.get(key);
}

async function factsOfEntry(part) {
  const info = catalogue.index(part.of) ?? catalogue.current();
  const found = await catalogue.entry(info, part.id);
  return {
    address: found.image,
    size: found.width ? [found.width, found.height] : null,
    suggested: found.box,
    title: catalogue.title(found),
    labels: found.labels,
  };
}

async function factsOfPhoto(part) {
  const kept = await recall(part.query);
  if (kept && !local.has(part.query)) local.set(part.query, URL.createObjectURL(kept.bytes));
  return {
    address: local.get(part.query) ?? api.imageOfQuery(part.query),
    size: kept ? [kept.width, kept.height] : part.size,
    suggested: kept?.box ?? null,
    title: "Your photograph",
    labels: {},
  };
}

// A photograph this browser cannot draw (HEIC, TIFF) the server can.
image.addEventListener("settled", ({ detail: good }) => {
  const part = activePart();
  if (!good && part?.query && image.src.startsWith("blob:")) point(image, api.imageOfQuery(part.query), SIDE);
});

/** Draws the panel for a state. */
export async function show(state) {
  const panel = byId("query");
  const part = state.parts[state.active];
  byId("search").classList.toggle("start", !part && !sending);
  if (!part && !sending) {
    if (!panel.querySelector(".welcome")) fill(panel, welcome());
    return;
  }
  if (!panel.contains(subject))
    fill(panel, h("div", { class: "subject-frame" }, subject), h("div", { class: "beside" }, title, acts, mixed));
  subject.classList.toggle("waiting", Boolean(sending));
  if (sending) {
    point(image, sending, SIDE);
    image.alt = "The photograph on its way";
    title.textContent = "Reading your photograph\u2026";
    cropper.show(null);
    fill(acts);
    return;
  }
  let about;
  try {
    about = await facts(part);
  } catch (error) {
    about = {
      address: null,
      size: null,
      suggested: null,
      title: error.status === 404 ? "No longer in the catalogue" : "Query",
      labels: {},
    };
  }
  if (activePart() !== part && keyOf(activePart() ?? {}) !== keyOf(part)) return;
  const size = about.size ?? part.size ?? null;
  if (about.address) point(image, about.address, SIDE);
  image.alt = `The query: ${about.title}`;
  if (size) subject.style.setProperty("--ratio", `${size[0]} / ${size[1]}`);
  title.textContent = about.title;
  document.title = `${about.title} \u2013 Lapel`;
  cropper.show(size, part.box ?? null);
  drawActs(part, about, size);
  drawMixed(state);
}

/** Asks once, when results are there, what the server knows by now: a suggested crop may take it a while. */
export async function askAgain() {
  const part = activePart();
  const about = part?.query && known.get(keyOf(part));
  if (!about || about.asked || about.suggested) return;
  about.asked = true;
  try {
    const told = await api.query(part.query);
    Object.assign(about, { size: [told.width, told.height], suggested: told.box });
    if (activePart()?.query === part.query) show(now());
  } catch {
    /* without a suggestion, then */
  }
}

function drawActs(part, about, size) {
  const suggested =
    about.suggested && size && String(about.suggested.map(Math.round)) !== String((part.box ?? []).map(Math.round));
  const opened = () => {
    subject.parentElement.classList.add("large");
    cropper.element.classList.add("open");
    cropper.begin();
  };
  const whole = () => {
    subject.parentElement.classList.remove("large");
    cropper.element.classList.remove("open");
    changePart({ box: undefined });
    say("The whole picture.");
  };
  fill(
    acts,
    part.box
      ? button({ icon: "whole", text: "Whole picture", kind: "button small", act: whole })
      : size && button({ icon: "crop", text: "Crop", kind: "button small", act: opened }),
    suggested &&
      button({
        icon: "aim",
        text: "Suggested crop",
        kind: "button small",
        act: () => changePart({ box: about.suggested }),
      }),
    chooser("Another photograph", "button small"),
  );
}

function drawMixed(state) {
  mixed.hidden = state.parts.length < 2;
  if (mixed.hidden) return;
  fill(
    mixed,
    h("h3", { id: "mixed-title" }, "Mixed from"),
    h(
      "ul",
      { aria: { labelledby: "mixed-title" } },
      state.parts.map((part, place) => {
        const small = picture("data:,", 120, "", false);
        const choose = h(
          "button",
          {
            type: "button",
            class: "swatch",
            aria: { pressed: place === state.active, label: `Garment ${place + 1}` },
            on: { click: () => change({ active: place }) },
          },
          small,
        );
        facts(part).then(
          (about) => {
            point(small, about.address, 120);
            choose.setAttribute("aria-label", `${about.title}: set what counts of it`);
          },
          () => {},
        );
        const drop = () => change({ parts: state.parts.filter((_, other) => other !== place), active: 0 });
        return h(
          "li",
          {},
          choose,
          button({ icon: "close", label: `Take garment ${place + 1} out`, kind: "round drop", act: drop }),
        );
      }),
    ),
  );
}

/** A button that opens the choice of a file. */
function chooser(text, kind) {
  const field = h("input", { type: "file", accept: "image/*", class: "unseen", tabindex: "-1", aria: { label: text } });
  field.addEventListener("change", () => {
    if (field.files.length) use(field.files[0]);
    field.value = "";
  });
  return [button({ icon: "photo", text, kind, act: () => field.click() }), field];
}

function welcome() {
  const info = catalogue.current();
  const some = info.attributes
    .filter((each) => !each.item)
    .slice(0, 3)
    .map((each) => words(each.name));
  const named = some.length > 1 ? `${some.slice(0, -1).join(", ")} or ${some.at(-1)}` : (some[0] ?? "look");
  return h(
    "div",
    { class: "welcome" },
    h(
      "div",
      { class: "door" },
      icon("photo"),
      h("h2", {}, "Start with a garment"),
      h("p", { class: "muted" }, `Drop or paste a photograph, then say what counts: its ${named}.`),
      h(
        "div",
        { class: "acts" },
        chooser("Choose a photograph", "button primary"),
        button({ icon: "dice", text: "Surprise me", act: surprise }),
      ),
    ),
  );
}

onSending((address) => {
  sending = address;
  show(now());
});

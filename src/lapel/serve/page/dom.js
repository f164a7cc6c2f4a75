// Building elements. Data only ever becomes text or an attribute's value: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element: h("button", {type: "button", on: {click: act}, aria: {label: "close"}}, "text", child). */
export function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (name === "aria") for (const [key, told] of Object.entries(value)) set(made, `aria-${key}`, told);
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "value") made.value = value;
    else set(made, name, value);
  }
  fill(made, ...children);
  return made;
}

/** Sets an attribute, takes it away for null, undefined and false; aria states keep their "false". */
export function set(element, name, value) {
  if (value === null || value === undefined || (value === false && !name.startsWith("aria-")))
    element.removeAttribute(name);
  else element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
}

/** Replaces what an element holds; null and false are left out. */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Brings an element's children to this list, moving only those out of place: pictures stay loaded, focus stays. */
export function arrange(element, children) {
  const wanted = new Set(children);
  const held = element.contains(document.activeElement) ? document.activeElement : null;
  for (const child of [...element.children]) if (!wanted.has(child)) child.remove();
  let place = element.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else element.insertBefore(child, place);
  }
  // What is moved loses the focus on its way.
  if (held?.isConnected && document.activeElement !== held) held.focus({ preventScroll: true });
}

/** One drawing of icons.svg. */
export function icon(name) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("class", "icon");
  drawn.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  drawn.append(use);
  return drawn;
}

/** A button with words, an icon, or both; ``label`` names one that has only an icon. */
export function button({ text = null, icon: drawing = null, label = null, kind = "button", act, ...rest }) {
  const { aria = {}, ...others } = rest;
  return h(
    "button",
    {
      type: "button",
      class: kind,
      title: text === null ? label : null,
      on: { click: act },
      ...others,
      aria: { label: text === null ? label : null, ...aria },
    },
    drawing && icon(drawing),
    text,
  );
}

export const byId = (id) => document.getElementById(id);

/** Says something to those who listen rather than look. */
export function say(text) {
  byId("spoken").textContent = text;
}

/** sleeve_length -> sleeve length */
export const words = (name) => String(name).replaceAll("_", " ");

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** 9493 -> 9,493 in the reader's manner. */
export const number = (value) => Number(value).toLocaleString(undefined, { maximumFractionDigits: 2 });

/** 0.834 -> 83 % */
export const percent = (share) => `${Math.round(100 * share)}\u2009%`.replace("-", "\u2212");

/** Waits for a pause of ``ms`` before it runs; cancel() forgets the call that waits. */
export function after(ms, act) {
  let waiting = null;
  const later = (...given) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => act(...given), ms);
  };
  later.cancel = () => clearTimeout(waiting);
  return later;
}

// Pictures from the server: as plain <img> where no token is needed, fetched with it where one is.

import { request, sized } from "./api.js";
import { h } from "./dom.js";
import { onReturn } from "./live.js";
import { token } from "./token.js";

const SIDES = [160, 320, 640, 1280]; // what the server makes
const RETRIES_MS = [400, 1200];
const LOCAL = /^(blob|data):/;
const failed = new Set();

/** A picture whose longest side shows about ``side`` pixels; ``words`` says what it shows. */
export function picture(address, side, words = "", lazy = true) {
  const made = h("img", { alt: words, draggable: "false", decoding: "async", loading: lazy ? "lazy" : null });
  point(made, address, side);
  return made;
}

/** Lets a picture show another address; what it showed stays until the new one is there. */
export function point(made, address, side) {
  if (made.dataset.address === `${address} ${side}`) return;
  made.dataset.address = `${address} ${side}`;
  let tries = 0;
  made.onload = () => settle(made, true);
  made.onerror = () => {
    // A busy server may have refused it: a picture is asked for again before it is given up.
    if (tries < RETRIES_MS.length && !LOCAL.test(address)) setTimeout(load, RETRIES_MS[tries], made, address, side);
    else settle(made, false);
    tries += 1;
  };
  load(made, address, side);
}

function load(made, address, side) {
  if (made.dataset.address !== `${address} ${side}`) return; // it shows another one by now
  if (LOCAL.test(address)) made.src = address;
  else if (token()) fetched(made, address, side);
  else made.src = sized(address, pixels(side));
}

/** The smallest picture the server makes that is sharp at this size on this screen. */
function pixels(side) {
  const wanted = side * Math.min(2, devicePixelRatio || 1) * 0.85;
  return SIDES.find((each) => each >= wanted) ?? SIDES.at(-1);
}

function settle(made, good) {
  made.classList.toggle("broken", !good);
  if (good) failed.delete(made);
  else failed.add(made);
  const holder = made.parentElement;
  if (holder) holder.classList.toggle("no-picture", !good);
  made.dispatchEvent(new CustomEvent("settled", { bubbles: true, detail: good }));
}

onReturn(() => {
  for (const made of failed) {
    failed.delete(made);
    if (!made.isConnected) continue;
    const [address, side] = made.dataset.address.split(" ");
    made.dataset.address = "";
    made.removeAttribute("src");
    point(made, address, Number(side));
  }
});

// With a token a picture is fetched when it comes near the screen: its address alone would carry no header.
const near = new IntersectionObserver(
  (seen) => {
    for (const { target, isIntersecting } of seen) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      const [address, side] = target.dataset.address.split(" ");
      request(sized(address, pixels(Number(side))))
        .then((answer) => answer.blob())
        .then((bytes) => {
          const local = URL.createObjectURL(bytes);
          target.addEventListener("load", () => URL.revokeObjectURL(local), { once: true });
          target.src = local;
        })
        .catch(() => settle(target, false));
    }
  },
  { rootMargin: "600px" },
);

function fetched(made) {
  near.observe(made);
}

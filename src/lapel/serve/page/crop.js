// The crop of the query: drawn by dragging, moved, resized by its handles, or all of it with the keyboard.

import { h, say, set } from "./dom.js";

const LEAST = 8; // pixels of the screen: less is a click, not a box
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

/**
 * Puts a cropper over a picture.
 *
 * ``done(box)`` is called when a box is finished: x1, y1, x2, y2 in pixels of the photograph, or null for all of it.
 */
export class Cropper {
  constructor(done) {
    this.done = done;
    this.size = null; // of the photograph, in its pixels
    this.box = null; // in shares of its width and height
    this.frame = h(
      "div",
      {
        class: "box-frame",
        tabindex: "0",
        role: "application",
        hidden: true,
        aria: { roledescription: "crop", label: "Crop" },
        on: { keydown: (event) => this.key(event) },
      },
      HANDLES.map((name) => h("i", { class: `handle ${name}`, data: { handle: name } })),
    );
    this.element = h("div", { class: "cropper", on: { pointerdown: (event) => this.press(event) } }, this.frame);
  }

  /** Shows this box of a photograph of this size; without a size nothing can be cropped. */
  show(size, box) {
    this.size = size;
    this.element.hidden = !size;
    if (!size || this.drag) return;
    this.box = box ? [box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1]].map(inside) : null;
    this.draw();
  }

  /** Begins a crop without a pointer: a box in the middle, in hand. */
  begin() {
    this.box ??= [0.2, 0.15, 0.8, 0.85];
    this.draw();
    this.finish();
    this.frame.focus();
    say("Crop. Arrow keys move it, with Shift they resize it, Delete takes it away.");
  }

  draw() {
    this.frame.hidden = !this.box;
    this.element.classList.toggle("cropped", Boolean(this.box));
    if (!this.box) return;
    const [x1, y1, x2, y2] = this.box;
    const shares = { "--x1": x1, "--y1": y1, "--x2": x2, "--y2": y2 };
    for (const [name, share] of Object.entries(shares)) this.element.style.setProperty(name, `${100 * share}%`);
    const [left, top, right, bottom] = this.pixels();
    set(
      this.frame,
      "aria-label",
      `Crop of ${right - left} by ${bottom - top} pixels at ${left}, ${top}. ` +
        "Arrow keys move it, with Shift they resize it, Delete takes it away.",
    );
  }

  pixels() {
    const [width, height] = this.size;
    const [x1, y1, x2, y2] = this.box;
    const left = Math.min(Math.round(x1 * width), width - 1);
    const top = Math.min(Math.round(y1 * height), height - 1);
    return [left, top, Math.max(left + 1, Math.round(x2 * width)), Math.max(top + 1, Math.round(y2 * height))];
  }

  finish() {
    this.done(this.box && this.pixels());
  }

  press(event) {
    if (event.button !== 0 || !this.size) return;
    const handle = event.target.dataset.handle;
    const moving = !handle && event.target.closest(".box-frame");
    // A finger that swipes over the picture scrolls the page; it crops once a box is there, or after the crop button.
    if (event.pointerType === "touch" && !handle && !moving && !this.element.classList.contains("open")) return;
    event.preventDefault();
    const around = this.element.getBoundingClientRect();
    const at = (e) => [
      inside((e.clientX - around.left) / around.width),
      inside((e.clientY - around.top) / around.height),
    ];
    const [x, y] = at(event);
    const before = this.box;
    this.drag = { before, x, y, handle: handle ?? (moving ? "move" : "new") };
    this.element.setPointerCapture(event.pointerId);
    const move = (e) => {
      const [nowX, nowY] = at(e);
      this.box = changed(this.drag, nowX, nowY);
      this.draw();
    };
    const end = (e) => {
      this.element.removeEventListener("pointermove", move);
      this.element.removeEventListener("pointerup", end);
      this.element.removeEventListener("pointercancel", end);
      this.drag = null;
      const [x1, y1, x2, y2] = this.box ?? [0, 0, 0, 0];
      const small = (x2 - x1) * around.width < LEAST || (y2 - y1) * around.height < LEAST;
      if (small || e.type === "pointercancel") {
        this.box = before;
        this.draw();
      } else if (String(this.box) !== String(before)) this.finish();
      if (this.box) this.frame.focus({ preventScroll: true });
    };
    this.element.addEventListener("pointermove", move);
    this.element.addEventListener("pointerup", end);
    this.element.addEventListener("pointercancel", end);
  }

  key(event) {
    const step = event.ctrlKey || event.metaKey ? 0.1 : 0.02;
    const [dx, dy] =
      { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key] ?? [];
    if (event.key === "Delete" || event.key === "Backspace") this.box = null;
    else if (dx === undefined) return;
    else {
      const drag = { before: this.box, x: 0.5, y: 0.5, handle: event.shiftKey ? "se" : "move" };
      this.box = changed(drag, 0.5 + dx, 0.5 + dy);
    }
    event.preventDefault();
    event.stopPropagation();
    this.draw();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.finish(), this.box ? 250 : 0);
  }
}

/** The box after the pointer went from where ``drag`` began to (x, y), all in shares. */
export function changed(drag, x, y) {
  if (drag.handle === "new") return ordered([drag.x, drag.y, x, y]);
  let [x1, y1, x2, y2] = drag.before;
  const [dx, dy] = [x - drag.x, y - drag.y];
  if (drag.handle === "move") {
    const across = Math.min(1 - x2, Math.max(-x1, dx));
    const down = Math.min(1 - y2, Math.max(-y1, dy));
    return [x1 + across, y1 + down, x2 + across, y2 + down];
  }
  if (drag.handle.includes("w")) x1 = inside(x1 + dx);
  if (drag.handle.includes("e")) x2 = inside(x2 + dx);
  if (drag.handle.includes("n")) y1 = inside(y1 + dy);
  if (drag.handle.includes("s")) y2 = inside(y2 + dy);
  return ordered([x1, y1, x2, y2]);
}

const inside = (share) => Math.min(1, Math.max(0, share));
const ordered = ([x1, y1, x2, y2]) => {
  const [left, right] = x1 < x2 ? [x1, x2] : [x2, x1];
  const [top, bottom] = y1 < y2 ? [y1, y2] : [y2, y1];
  // Not narrower than a hundredth: a box of no width cannot be taken hold of again.
  return [
    Math.min(left, 0.99),
    Math.min(top, 0.99),
    Math.max(right, Math.min(left, 0.99) + 0.01),
    Math.max(bottom, Math.min(top, 0.99) + 0.01),
  ];
};

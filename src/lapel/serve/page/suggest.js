// The field that finds values: type a few letters, choose a value of any column, or words within a text column.

import { fill, h, icon, number, words } from "./dom.js";

const MOST = 9;

/** Whether a text column of so many pictures holds words to search rather than values to choose. */
export const isFree = ({ kind, values }, pictures) =>
  kind === "text" && (values.length === 0 || values.length >= Math.max(12, Math.min(50, pictures / 4)));

export class Suggestions {
  /** ``choose`` gets {name, value} for a value, {name, told} for words. */
  constructor(choose) {
    this.choose = choose;
    this.values = [];
    this.free = [];
    this.at = -1;
    this.found = [];
    this.list = h("ul", {
      class: "suggestions",
      id: "suggestions",
      role: "listbox",
      aria: { label: "Filters" },
      hidden: true,
    });
    this.field = h("input", {
      type: "text",
      id: "find",
      placeholder: "Find a filter",
      autocomplete: "off",
      spellcheck: "false",
      role: "combobox",
      aria: {
        label: "Find a filter",
        expanded: "false",
        controls: "suggestions",
        autocomplete: "list",
        keyshortcuts: "/",
      },
      on: {
        input: () => this.draw(),
        focus: () => this.draw(),
        keydown: (event) => this.key(event),
        blur: () => this.close(),
      },
    });
    this.element = h("div", { class: "finder" }, icon("find"), this.field, this.list);
  }

  focus() {
    this.field.focus();
    this.field.select();
  }

  /** Takes all columns, the columns as the filter leaves them, and how many pictures there are. */
  offer(all, counts, pictures) {
    const rank = ({ name }) => (/name|title/.test(name) ? 0 : name === "item" ? 2 : 1);
    this.free = all
      .filter((column) => isFree(column, pictures) && column.missing < pictures && column.name !== "image")
      .toSorted((a, b) => rank(a) - rank(b))
      .map((column) => column.name);
    this.values = all
      .filter((column) => !isFree(column, pictures) && ["labels", "text"].includes(column.kind))
      .flatMap((column) => {
        const now = new Map((counts.get(column.name)?.values ?? []).map(({ value, count }) => [value, count]));
        return column.values.map(({ value }) => ({
          name: column.name,
          value: String(value),
          count: now.get(value) ?? 0,
        }));
      });
  }

  draw() {
    const told = this.field.value.trim();
    const wanted = told.toLowerCase();
    const begins = (each) =>
      each.value
        .toLowerCase()
        .split(/[\s/-]+/)
        .some((word) => word.startsWith(wanted));
    const has = (each) => `${each.value} ${words(each.name)}`.toLowerCase().includes(wanted);
    const near = told ? this.values.filter(has).toSorted((a, b) => begins(b) - begins(a) || b.count - a.count) : [];
    const within = told ? this.free.map((name) => ({ name, told })) : [];
    this.found = [...near.slice(0, MOST - Math.min(3, within.length)), ...within.slice(0, 3)];
    this.at = this.found.length ? 0 : -1;
    fill(
      this.list,
      this.found.map((each, place) =>
        h(
          "li",
          {
            role: "option",
            id: `suggestion-${place}`,
            aria: { selected: String(place === this.at) },
            // A press would take the focus away, and with it the list, before the click.
            on: { pointerdown: (event) => event.preventDefault(), click: () => this.take(place) },
          },
          each.told === undefined
            ? [
                h("span", { class: "muted" }, words(each.name)),
                h("span", {}, each.value),
                h("span", { class: "number" }, number(each.count)),
              ]
            : [h("span", { class: "muted" }, words(each.name)), h("span", {}, `has \u201c${each.told}\u201d`)],
        ),
      ),
    );
    this.toggle(this.found.length > 0);
  }

  toggle(open) {
    this.list.hidden = !open;
    this.field.setAttribute("aria-expanded", String(open));
    if (open && this.at >= 0) this.field.setAttribute("aria-activedescendant", `suggestion-${this.at}`);
    else this.field.removeAttribute("aria-activedescendant");
  }

  close() {
    this.toggle(false);
  }

  take(place) {
    const chosen = this.found[place];
    if (!chosen) return;
    this.field.value = "";
    this.draw();
    this.choose(chosen);
  }

  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.found.length) {
      event.preventDefault();
      this.at = (this.at + step + this.found.length) % this.found.length;
      [...this.list.children].forEach((each, place) => each.setAttribute("aria-selected", String(place === this.at)));
      this.toggle(true);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.take(this.at);
    } else if (event.key === "Escape") {
      if (this.list.hidden && !this.field.value) this.field.blur();
      this.field.value = "";
      this.draw();
    }
  }
}

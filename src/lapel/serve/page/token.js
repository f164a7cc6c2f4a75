// The token of a server that asks for one: kept for this tab only, sent as a header only.

import { button, h } from "./dom.js";

const KEY = "lapel-token";
let kept = null;
let asking = null;

export function token() {
  if (kept === null) {
    try {
      kept = sessionStorage.getItem(KEY) ?? "";
    } catch {
      kept = "";
    }
  }
  return kept;
}

/** Asks for the token; however many calls wait for it, there is one question. */
export function askToken(trouble) {
  asking ??= new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
    const dialog = h("dialog", { class: "box small-box", aria: { labelledby: "token-title" } });
    const form = h(
      "form",
      {
        method: "dialog",
        on: {
          submit: (event) => {
            event.preventDefault();
            kept = field.value.trim();
            try {
              sessionStorage.setItem(KEY, kept);
            } catch {
              /* kept in memory, until the page is left */
            }
            asking = null;
            dialog.close();
            dialog.remove();
            resolve();
          },
        },
      },
      h("h2", { id: "token-title" }, "This server asks for a token"),
      h("p", { class: "muted" }, trouble ?? "Whoever started it has the token. It is kept until this tab is closed."),
      h("label", { for: "token" }, "Token"),
      field,
      h("div", { class: "acts" }, button({ text: "Go on", kind: "button primary", type: "submit" })),
    );
    // Without the token nothing works: Escape leaves the question open.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
  return asking;
}

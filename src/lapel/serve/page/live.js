// Whether the server is there. When it is not, a quiet banner says so, and whoever waits goes on when it is back.

import { byId, fill, h, say } from "./dom.js";

const FIRST_MS = 400;
const LONGEST_MS = 5000;

let away = null;
const returns = [];

/** Calls ``act`` each time the server has come back. */
export function onReturn(act) {
  returns.push(act);
}

/** Resolves once the server answers again; asks it now and then until it does. */
export function back(reason = "The server does not answer. Trying again\u2026") {
  if (!away) {
    fill(byId("banner"), h("span", { class: "busy-ring" }), h("span", {}, reason));
    byId("banner").hidden = false;
    away = poll().then(() => {
      away = null;
      byId("banner").hidden = true;
      say("The server is back.");
      for (const act of returns) act();
    });
  }
  return away;
}

async function poll() {
  for (let wait = FIRST_MS; ; wait = Math.min(LONGEST_MS, wait * 1.6)) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      // Back from another tab or another network: ask at once.
      const early = () => {
        clearTimeout(timer);
        resolve();
      };
      addEventListener("online", early, { once: true });
      document.addEventListener("visibilitychange", early, { once: true });
    });
    try {
      const answer = await fetch("/v1/ready", { cache: "no-store" });
      if (answer.ok) return;
    } catch {
      /* still away */
    }
  }
}

// Photographs from outside: chosen, dropped anywhere on the page, or pasted.

import * as api from "./api.js";
import { current } from "./catalogue.js";
import { byId, say } from "./dom.js";
import { notice, clearNotice } from "./notices.js";
import { keep, recall } from "./photos.js";
import { ask } from "./state.js";

let giveUp = null;
let preview = null;
const watchers = [];

/** Calls ``act(address)`` with the photograph's address while it is on its way, with null when it is not any more. */
export function onSending(act) {
  watchers.push(act);
}

function shown(address) {
  if (preview && preview !== address) URL.revokeObjectURL(preview);
  preview = address;
  for (const act of watchers) act(address);
}

/** Sends a photograph and searches with it; what was there stays if it cannot be read. */
export async function use(file) {
  giveUp?.abort();
  giveUp = new AbortController();
  const { signal } = giveUp;
  clearNotice("photograph");
  if (file.type && !file.type.startsWith("image/")) {
    notice("photograph", `\u201c${file.name || "This"}\u201d is no photograph: it holds ${file.type}.`);
    return;
  }
  shown(URL.createObjectURL(file));
  say("Sending the photograph.");
  try {
    const sent = await api.upload(file, current().name, signal);
    await keep({ query: sent.query, bytes: file, width: sent.width, height: sent.height, box: sent.box });
    if (!signal.aborted) ask([{ query: sent.query, size: [sent.width, sent.height] }]);
  } catch (error) {
    if (api.isCancelled(error)) return;
    notice("photograph", `This photograph cannot be used: ${error.message}`);
  } finally {
    if (!signal.aborted) shown(null);
  }
}

/** Sends a photograph again that the server has forgotten; whether it could. */
export async function sendAgain(query, signal) {
  const kept = await recall(query);
  if (!kept) return false;
  return (await api.upload(kept.bytes, current().name, signal)).query === query;
}

/** Takes photographs that are dropped anywhere or pasted. */
export function listen() {
  const veil = byId("veil");
  let depth = 0; // a drag enters and leaves every element it passes over
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth += 1;
    veil.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth = Math.max(0, depth - 1);
    veil.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    if (event.dataTransfer.files.length) use(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    use(file);
  });
}

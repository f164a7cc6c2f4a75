// Every call to the server goes through here: the token, waiting while the server is away or busy, and errors.

import { back } from "./live.js";
import { askToken, token } from "./token.js";

const TRIES_WHEN_BUSY = 4;

/** An answer that is no success: the API's code, its words for people, and the id to find it in the log. */
export class ApiError extends Error {
  constructor(status, code, message, requestId) {
    super(message);
    Object.assign(this, { status, code, requestId });
  }
}

/** Whether a call was given up because a newer one took its place. */
export const isCancelled = (error) => error?.name === "AbortError";

/**
 * Calls the server and returns the response; ``json`` or ``form`` make it a POST.
 *
 * While the server is away it waits for it. While the server is busy it waits as long as it was told: a few times, or
 * with ``patient(words)``, which is told why, for as long as it takes.
 */
export async function request(path, { json, form, signal, patient } = {}) {
  for (let busy = 0; ;) {
    let answer;
    try {
      answer = await fetch(path, {
        method: json || form ? "POST" : "GET",
        body: json ? JSON.stringify(json) : form?.(),
        headers: { ...(json && { "Content-Type": "application/json" }), ...authorization() },
        signal,
      });
    } catch (error) {
      if (isCancelled(error) || signal?.aborted) throw error;
      await unless(signal, back());
      continue;
    }
    if (answer.ok) return answer;
    const error = await told(answer);
    if (answer.status === 401) await askToken(token() ? "The server did not take this token." : null);
    else if (answer.status === 503 && error.code === "not_ready") {
      await unless(signal, back("The server is opening its index\u2026"));
    } else if (answer.status >= 502 && answer.status <= 504) await unless(signal, back());
    else if (answer.status === 429 && (patient || busy < TRIES_WHEN_BUSY)) {
      busy += 1;
      patient?.(error.message);
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await unless(signal, new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(10, seconds))));
    } else throw error;
  }
}

const call = async (path, options) => (await request(path, options)).json();

export const indexes = () => call("/v1/indexes");
export const search = (asked, signal) => call("/v1/search", { json: asked, signal });
export const explain = (asked, signal) => call("/v1/explain", { json: asked, signal });
export const facets = (index, where) => call(`/v1/facets?${parameters({ index, where })}`);
export const entry = (index, id, signal) => call(`/v1/entries/${path(id)}?${parameters({ index })}`, { signal });
export const sample = (index, where, k, seed, signal) =>
  call(`/v1/entries?${parameters({ index, where, k, seed })}`, { signal });
export const copies = (asked, signal, patient) => call(`/v1/copies?${parameters(asked)}`, { signal, patient });
/** What the server knows of a photograph; a suggested crop may take it some seconds. */
export const query = (id, signal) => call(`/v1/queries/${encodeURIComponent(id)}`, { signal });

/** Sends a photograph that an index will be searched with; the same bytes always get the same id. */
export function upload(photograph, index, signal) {
  // A body can be read once only: each try makes its own.
  const form = () => {
    const made = new FormData();
    made.append("image", photograph, "photograph");
    made.append("index", index);
    return made;
  };
  return call("/v1/queries", { form, signal });
}

export const imageOfQuery = (query) => `/v1/queries/${encodeURIComponent(query)}/image`;

/** The address of a picture ``side`` pixels long. */
export const sized = (address, side) => `${address}${address.includes("?") ? "&" : "?"}side=${side}`;

const authorization = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

/** An id in an address: one that a browser would shorten as a path goes as one segment. */
function path(id) {
  const segments = id.split("/");
  const plain = segments.every((each) => !["", ".", ".."].includes(each));
  return plain ? segments.map(encodeURIComponent).join("/") : encodeURIComponent(id);
}

export function parameters(given) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(given)) if (value !== null && value !== undefined) asked.set(name, value);
  return asked;
}

async function told(answer) {
  try {
    const { error } = await answer.json();
    return new ApiError(answer.status, error.code, error.message, error.request_id);
  } catch {
    return new ApiError(answer.status, "unexpected", `The server answered ${answer.status}.`, null);
  }
}

/** Waits for a promise, unless the call is given up meanwhile. */
function unless(signal, promise) {
  if (!signal) return promise;
  return Promise.race([
    promise,
    new Promise((_, fail) => {
      const given = () => fail(new DOMException("given up", "AbortError"));
      if (signal.aborted) given();
      else signal.addEventListener("abort", given, { once: true });
    }),
  ]);
}

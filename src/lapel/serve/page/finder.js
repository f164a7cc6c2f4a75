// Searches, one at a time: a new one takes the place of the old one, and what was found is kept for the way back.

import * as api from "./api.js";
import { PAGE } from "./asking.js";
import { sendAgain } from "./sending.js";

const KEPT = 16;

export class Finder {
  constructor() {
    this.kept = new Map(); // body of a search -> what was found so far
    this.running = null;
  }

  /** Gives up the search that is under way. */
  stop() {
    this.running?.abort();
    this.running = null;
  }

  /**
   * Finds the first page of a search: {asked, hits, left, weights, likely}. What was found before comes at once.
   *
   * Raises an AbortError when a newer search takes its place, an ApiError when the server refuses.
   */
  async first(asked, likely = false) {
    this.stop();
    const key = JSON.stringify(asked);
    const before = this.kept.get(key);
    if (before && (before.likely || !likely)) return before;
    const found = await this.run({ ...asked, offset: 0, ...(likely && { likely: true }) });
    const result = { ...found, asked, key };
    this.kept.set(key, result);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    return result;
  }

  /** Adds the next page to what was found. */
  async next(result) {
    const found = await this.run({ ...result.asked, offset: result.reached ?? PAGE });
    result.reached = (result.reached ?? PAGE) + PAGE;
    const known = new Set(result.hits.map((hit) => hit.id));
    result.hits.push(...found.hits.filter((hit) => !known.has(hit.id)));
    result.left = found.left;
    return result;
  }

  /** Whether a search was answered before, so that it can be shown without waiting. */
  knows(asked) {
    return this.kept.has(JSON.stringify(asked));
  }

  /** Forgets everything: the index has changed. */
  forget() {
    this.stop();
    this.kept.clear();
  }

  async run(asked) {
    const giveUp = new AbortController();
    this.running = giveUp;
    try {
      try {
        return await api.search(asked, giveUp.signal);
      } catch (error) {
        if (error.code !== "query_gone") throw error;
        // The server forgets photographs; the browser kept them.
        const again = await Promise.all(
          asked.parts.filter((part) => part.query).map((part) => sendAgain(part.query, giveUp.signal)),
        );
        if (!again.every(Boolean)) throw error;
        return await api.search(asked, giveUp.signal);
      }
    } finally {
      if (this.running === giveUp) this.running = null;
    }
  }
}

// When there is nothing to show: a search that failed, or one that found nothing.

import * as api from "./api.js";
import * as catalogue from "./catalogue.js";
import { button, h, percent } from "./dom.js";
import { notice } from "./notices.js";
import { change } from "./state.js";
import { describe, where } from "./where.js";

/** Tells why a search has no answer, with what may help; ``again`` tries once more. */
export function trouble(error, state, again) {
  if (error.code === "query_gone") {
    notice(
      "search",
      "Neither the server nor this browser has this photograph any more: send it again, or start from another garment.",
    );
  } else if (error.status === 404) {
    notice("search", `${error.message} It may have left the catalogue.`, [
      ["Start again", () => change({ parts: [], more: [], less: [] })],
    ]);
  } else {
    const filtered = where(state, catalogue.kinds(catalogue.current(state))) !== null;
    notice("search", `This search cannot be answered: ${error.message}`, [
      ...(filtered ? [["Remove the filters", removeFilters]] : []),
      ["Try again", again],
    ]);
  }
}

const removeFilters = () => change({ values: {}, missing: [], ranges: {}, has: {} });

/** An honest nothing: why, and what would help; ``asked`` is the search, null where there is no query. */
export function empty(state, asked) {
  const filters = describe(state);
  const told = h("p", { class: "muted" });
  const acts = h("div", { class: "acts" });
  const least = asked ? state.least : null;
  if (least !== null) {
    told.textContent = "Lower the threshold, or remove a filter.";
    const lower = button({ text: "No threshold", act: () => change({ least: null }) });
    acts.append(lower);
    const { threshold: _, ...without } = asked;
    api.search({ ...without, k: 1 }).then(
      ({ hits }) => {
        if (!hits.length) told.textContent = "Nothing passes the filters either.";
        else {
          const nearest = Math.floor(100 * hits[0].similarity) / 100;
          told.textContent = `The nearest is ${percent(nearest)} alike: lower the threshold, or remove a filter.`;
          lower.before(
            button({
              text: `Lower it to ${percent(nearest)}`,
              kind: "button primary",
              act: () => change({ least: nearest > 0 ? nearest : null }),
            }),
          );
        }
      },
      () => {},
    );
  } else told.textContent = filters.length ? "Remove a filter to see more." : "The catalogue is empty.";
  if (filters.length)
    acts.append(button({ text: filters.length > 1 ? "Remove all filters" : "Remove the filter", act: removeFilters }));
  return h(
    "div",
    { class: "empty" },
    h("h3", {}, least !== null ? `Nothing above ${percent(least)} alike` : "Nothing passes these filters"),
    told,
    acts,
  );
}

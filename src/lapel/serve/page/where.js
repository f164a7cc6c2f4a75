// The filter bar's choices as the text that the API takes as `where`.

const column = (name) => `"${name.replaceAll('"', '""')}"`;
const text = (value) => `'${String(value).replaceAll("'", "''")}'`;
const pattern = (told) => text(`%${told.replace(/[\\%_]/g, "\\$&")}%`);

/**
 * The filter of a state: within a column any of its values, over columns all of them; null for none.
 *
 * kinds: column -> kind, of the index asked; columns it does not have are left out.
 * ``but``: a column whose own choice is left out, for counting what else could be chosen there.
 */
export function where(state, kinds, but = null) {
  const names = [
    ...new Set([
      ...Object.keys(state.values),
      ...state.missing,
      ...Object.keys(state.ranges),
      ...Object.keys(state.has),
    ]),
  ];
  const tests = names.filter((name) => name !== but && name in kinds).map((name) => test(state, name, kinds[name]));
  return tests.filter(Boolean).join(" AND ") || null;
}

/** Columns that a state filters by and an index does not have. */
export function unknownColumns(state, kinds) {
  const all = [...Object.keys(state.values), ...state.missing, ...Object.keys(state.ranges), ...Object.keys(state.has)];
  return [...new Set(all)].filter((name) => !(name in kinds));
}

/** The filter that leaves out images by their ids. */
export const without = (ids) => `"image" NOT IN (${ids.map(text).join(", ")})`;

function test(state, name, kind) {
  const any = [];
  const values = state.values[name] ?? [];
  if (values.length) any.push(chosen(name, kind, values));
  if (state.missing.includes(name)) any.push(`${column(name)} IS NULL`);
  const every = any.length ? [any.length > 1 ? `(${any.join(" OR ")})` : any[0]] : [];
  const [low, high] = state.ranges[name] ?? [null, null];
  if (kind === "number" || kind === "integer") {
    if (low !== null) every.push(`${column(name)} >= ${low}`);
    if (high !== null) every.push(`${column(name)} <= ${high}`);
  }
  if (state.has[name] && (kind === "text" || kind === "labels")) every.push(contains(name, state.has[name]));
  return every.join(" AND ");
}

function chosen(name, kind, values) {
  if (kind === "boolean") {
    const tests = values.map((value) => `${column(name)} = ${value === "true" ? "TRUE" : "FALSE"}`);
    return tests.length > 1 ? `(${tests.join(" OR ")})` : tests[0];
  }
  const literal = kind === "number" || kind === "integer" ? (value) => String(Number(value) || 0) : text;
  return values.length > 1
    ? `${column(name)} IN (${values.map(literal).join(", ")})`
    : `${column(name)} = ${literal(values[0])}`;
}

/** LIKE keeps to upper and lower case: the usual ways of writing a word are all asked for. */
function contains(name, told) {
  const ways = new Set([
    told,
    told.toLowerCase(),
    told.toUpperCase(),
    told.charAt(0).toUpperCase() + told.slice(1).toLowerCase(),
  ]);
  const tests = [...ways].map((way) => `${column(name)} LIKE ${pattern(way)}`);
  return tests.length > 1 ? `(${tests.join(" OR ")})` : tests[0];
}

/**
 * The choices one by one, each with words for it and the state without it: [{name, text, without}].
 */
export function describe(state) {
  const { values, missing, ranges, has } = state;
  const less = (map, name) => Object.fromEntries(Object.entries(map).filter(([key]) => key !== name));
  return [
    ...Object.entries(values).flatMap(([name, chosen]) =>
      chosen.map((value) => {
        const rest = chosen.filter((each) => each !== value);
        return {
          name,
          text: value,
          without: { values: rest.length ? { ...values, [name]: rest } : less(values, name) },
        };
      }),
    ),
    ...missing.map((name) => ({ name, text: "none", without: { missing: missing.filter((each) => each !== name) } })),
    ...Object.entries(ranges).map(([name, [low, high]]) => ({
      name,
      text: between(low, high),
      without: { ranges: less(ranges, name) },
    })),
    ...Object.entries(has).map(([name, told]) => ({
      name,
      text: `\u201c${told}\u201d`,
      without: { has: less(has, name) },
    })),
  ];
}

function between(low, high) {
  if (low === null) return `up to ${high}`;
  return high === null ? `from ${low}` : `${low} to ${high}`;
}

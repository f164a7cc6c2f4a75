// Everything the page shows is in its address; here the two are brought into one another. No other module reads it.
//
//   ?id=images/1.jpg                      a garment of the catalogue, or  q=HEX&size=768x1024  a photograph sent
//   &of=OTHER                             the index of that garment, where it is another one than the searched
//   &box=10,20,300,400 &w.neckline=2      its crop in pixels, its weights (none: everything counts the same)
//   &2.id=... &2.w.pattern=1              further garments mixed in
//   &f.colour=Red&f.colour=Blue           values, any of them;  no.colour=1  those without one
//   &r.price=10..50 &has.name=dress       ranges and words
//   &least=0.6 &more=ID &less=ID          threshold and feedback
//   &with=OTHER &why=ID &by=neckline      compared index, explanation that is open
//   ?view=copies &attribute= &least= &against= &within=1

const PARTS = 8;

export const EMPTY = Object.freeze({
  view: "search",
  index: null,
  parts: [],
  active: 0,
  values: {},
  missing: [],
  ranges: {},
  has: {},
  least: null,
  more: [],
  less: [],
  other: null,
  why: null,
  by: null,
  attribute: null,
  against: null,
  within: false,
});

/** The state in an address, which anyone may have written: what is not understood is left out. */
export function read(search) {
  const asked = new URLSearchParams(search);
  const state = structuredClone(EMPTY);
  state.view = asked.get("view") === "copies" ? "copies" : "search";
  for (const name of ["index", "why", "by", "attribute", "against"]) state[name] = asked.get(name) || null;
  state.other = asked.get("with") || null;
  state.within = asked.get("within") === "1";
  state.least = finite(asked.get("least"), -1, 1);
  state.more = unique(asked.getAll("more"));
  state.less = unique(asked.getAll("less")).filter((id) => !state.more.includes(id));
  for (const [key, value] of asked) {
    const [, kind, name] = /^(f|no|r|has)\.(.+)$/s.exec(key) ?? [];
    if (kind === "f") state.values[name] = unique([...(state.values[name] ?? []), value]);
    else if (kind === "no") state.missing = unique([...state.missing, name]);
    else if (kind === "has" && value.trim()) state.has[name] = value.slice(0, 200);
    else if (kind === "r") {
      const ends = value.split("..").map((end) => (end === "" ? null : finite(end)));
      if (ends.length === 2 && ends.some((end) => end !== null)) state.ranges[name] = ends;
    }
  }
  for (let place = 1; place <= PARTS; place += 1) {
    const part = readPart(asked, place === 1 ? "" : `${place}.`);
    if (part) state.parts.push(part);
  }
  state.active = Math.max(0, Math.min(state.parts.length, finite(asked.get("part"), 1, PARTS) ?? 1) - 1);
  return state;
}

function readPart(asked, prefix) {
  const query = asked.get(`${prefix}q`);
  const id = asked.get(`${prefix}id`);
  if (!/^[0-9a-f]{32}$/.test(query ?? "") && !id) return null;
  const part = id ? { id } : { query };
  const of = asked.get(`${prefix}of`);
  if (id && of) part.of = of;
  const size = (asked.get(`${prefix}size`) ?? "").split("x").map(Number);
  if (size.length === 2 && size.every((side) => side > 0 && side < 1e6)) part.size = size;
  const box = (asked.get(`${prefix}box`) ?? "").split(",").map(Number);
  if (box.length === 4 && box.every(Number.isFinite) && box[2] > box[0] && box[3] > box[1]) part.box = box;
  const weights = {};
  for (const [key, value] of asked) {
    const weight = finite(value, -10, 10);
    if (key.startsWith(`${prefix}w.`) && weight !== null) weights[key.slice(prefix.length + 2)] = weight;
  }
  if (Object.keys(weights).length) part.weights = weights;
  return part;
}

/** The address of a state: what is as usual is left out, so that addresses stay short. */
export function write(state) {
  const asked = new URLSearchParams();
  const put = (name, value) => value !== null && value !== undefined && asked.append(name, value);
  if (state.view !== "search") put("view", state.view);
  put("index", state.index);
  if (state.view === "copies") {
    for (const name of ["attribute", "against", "least"]) put(name, state[name]);
    if (state.within) put("within", 1);
    return text(asked);
  }
  state.parts.forEach((part, place) => {
    const prefix = place === 0 ? "" : `${place + 1}.`;
    put(part.id ? `${prefix}id` : `${prefix}q`, part.id ?? part.query);
    put(`${prefix}of`, part.of);
    if (part.size) put(`${prefix}size`, part.size.join("x"));
    if (part.box) put(`${prefix}box`, part.box.map(Math.round).join(","));
    for (const [name, weight] of Object.entries(part.weights ?? {})) put(`${prefix}w.${name}`, +weight.toFixed(2));
  });
  if (state.active > 0) put("part", state.active + 1);
  for (const [name, values] of Object.entries(state.values)) for (const value of values) put(`f.${name}`, value);
  for (const name of state.missing) put(`no.${name}`, 1);
  for (const [name, [low, high]] of Object.entries(state.ranges)) put(`r.${name}`, `${low ?? ""}..${high ?? ""}`);
  for (const [name, told] of Object.entries(state.has)) put(`has.${name}`, told);
  put("least", state.least);
  for (const id of state.more) put("more", id);
  for (const id of state.less) put("less", id);
  put("with", state.other);
  put("why", state.why);
  put("by", state.by);
  return text(asked);
}

function text(asked) {
  // A slash and a comma are plain in a query string: addresses of catalogue ids stay readable.
  const written = asked.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
  return written ? `/?${written}` : "/";
}

function finite(value, low = -Infinity, high = Infinity) {
  if (value === null || value === "" || !Number.isFinite(Number(value))) return null;
  return Math.min(high, Math.max(low, Number(value)));
}

const unique = (list) => [...new Set(list)];

// Photographs that were sent, kept in this browser: when the server has forgotten one, it is sent again unasked.

const KEPT = 30;
const memory = new Map(); // where the browser gives no storage, until the page is left
let opened = null;

/** Keeps a photograph under the server's id: {query, bytes, width, height, box}. */
export async function keep(photograph) {
  memory.set(photograph.query, photograph);
  try {
    const store = await open("readwrite");
    await done(store.put({ ...photograph, at: Date.now() }));
    const keys = await done(store.index("at").getAllKeys());
    for (const old of keys.slice(0, -KEPT)) await done(store.delete(old));
  } catch {
    /* in memory it is */
  }
}

/** The photograph of an id, or null. */
export async function recall(query) {
  if (memory.has(query)) return memory.get(query);
  try {
    return (await done((await open("readonly")).get(query))) ?? null;
  } catch {
    return null;
  }
}

async function open(mode) {
  opened ??= new Promise((resolve, fail) => {
    const asked = indexedDB.open("lapel", 1);
    asked.onupgradeneeded = () =>
      asked.result.createObjectStore("photos", { keyPath: "query" }).createIndex("at", "at");
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => fail(asked.error);
  });
  return (await opened).transaction("photos", mode).objectStore("photos");
}

function done(asked) {
  return new Promise((resolve, fail) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => fail(asked.error);
  });
}

// Objects, each with the package of its schema ([[package, object], ...] from stdin): what the
// package's checks find wrong with each ([[line, ...], ...] to stdout). The checks let fields pass
// that they do not know; but they never read them either, so a field left unread is an error here.

import { text } from "node:stream/consumers";

// A view of a value that takes each field from `unread` when it is read. A null is no value.
function watched(value, path, unread) {
  if (typeof value !== "object" || value === null) return value;
  const inner = {};
  for (const key of Object.keys(value)) {
    unread.add(`${path}/${key}`);
    inner[key] = watched(value[key], `${path}/${key}`, unread);
  }
  return new Proxy(value, {
    get(target, key) {
      if (!Object.hasOwn(inner, key)) return target[key];
      if (inner[key] !== null) unread.delete(`${path}/${key}`);
      return inner[key];
    },
  });
}

async function problems([name, thing]) {
  const { apiVersion, kind } = thing;
  const { [kind]: Kind } = await import(`${name}/${apiVersion}/${kind}`);
  const unread = new Set();
  const found = [];
  try {
    Kind.prototype.validate.call(watched(thing, "", unread));
  } catch (error) {
    if (!error.errors) throw error;
    found.push(...error.errors.map((it) => `${it.instancePath}: ${it.message}`));
  }
  const inUnread = (path) => unread.has(path.slice(0, path.lastIndexOf("/")));
  const lost = [...unread].filter((path) => !inUnread(path));
  return [...found, ...lost.map((path) => `${path}: unknown, or null`)];
}

const pairs = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(pairs.map(problems))));

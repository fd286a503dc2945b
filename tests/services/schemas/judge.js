// Checks objects by the packages of their schemas: reads [[package, object], ...] from stdin, writes
// the errors of each object, [[line, ...], ...], to stdout. The checks ignore unknown fields without
// reading them, so a field that is never read is an error here.

import { text } from "node:stream/consumers";

// A view of a value that removes each field from `unread` when it is read, except nulls.
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
  const errors = [];
  try {
    Kind.prototype.validate.call(watched(thing, "", unread));
  } catch (error) {
    if (!error.errors) throw error;
    errors.push(...error.errors.map((it) => `${it.instancePath}: ${it.message}`));
  }
  const inUnread = (path) => unread.has(path.slice(0, path.lastIndexOf("/")));
  const unknown = [...unread].filter((path) => !inUnread(path));
  return [...errors, ...unknown.map((path) => `${path}: unknown, or null`)];
}

const pairs = JSON.parse(await text(process.stdin));
process.stdout.write(JSON.stringify(await Promise.all(pairs.map(problems))));

/** What scenarios say shortly. */
import { deepEqual } from "node:assert/strict";

export const range = (count) => Array.from({ length: count }, (_, number) => number);

export const firsts = (events) => events.map(([first]) => first);

/** Return what compares as equal whatever carried bytes: Buffer, Uint8Array or ArrayBuffer. */
export const plain = (value) => {
  if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
    return { bytes: Buffer.from(value).toString("hex") };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, plain(held)]));
};

export const same = (actual, expected) => deepEqual(plain(actual), plain(expected));

/** Send `args` there and back: by an event, and by an acknowledgement. */
export const echoed = async (play, socket, args) => {
  const back = play.heard(socket, "back");
  socket.emit("back", ...args);
  same(await back, args);
  same(
    await new Promise((resolve) => socket.emit("echo", ...args, (...got) => resolve(got))),
    args,
  );
};

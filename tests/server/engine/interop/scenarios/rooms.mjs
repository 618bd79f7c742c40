/** One room with clients of all transports. */
import { deepEqual, ok } from "node:assert/strict";
import { range, same } from "./values.mjs";

export const rooms = {
  async "is in rooms with clients of all transports"(play) {
    const modes = play.mode.startsWith("msgpack")
      ? ["msgpack", "msgpack-polling", "msgpack"]
      : ["polling", "websocket", "upgrade", "deflate", "polling", "websocket", "deflate"];
    const members = await Promise.all(modes.map((mode) => play.connected({ mode })));
    const outside = await play.connected();
    outside.on("told", () => ok(false, "not in the room"));
    for (const member of members) await member.emitWithAck("enter", "hall");
    const all = members.map((member) => play.collected(member, "told", 31));
    const said = range(30).map((n) => (n % 2 ? [n, { raw: Buffer.from([n]) }, "🎻"] : [n]));
    for (const args of said) members[0].emit("tell", "hall", ...args);
    members[0].emit("tell", "hall", "end", Buffer.alloc(50_000, 5));
    for (const came of await Promise.all(all))
      same(came, [...said, ["end", Buffer.alloc(50_000, 5)]]);
    await members[1].emitWithAck("leave", "hall");
    const counts = members.map(() => 0);
    for (const [n, member] of members.entries()) {
      member.on("told", () => {
        counts[n] += 1;
      });
    }
    await members[0].emitWithAck("tell_others", "hall", Buffer.from("x"));
    await play.sleep(200);
    deepEqual(counts, [0, 0, ...modes.slice(2).map(() => 1)]);
  },
};

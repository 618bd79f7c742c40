/** What is sent and received, and answered. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { echoed, firsts, plain, range, same } from "./values.mjs";

export const events = {
  async "carries arguments of all kinds"(play) {
    const socket = await play.connected();
    for (const args of [
      [],
      [null],
      [1, -1.5, 0, 2 ** 53 - 1, -(2 ** 40), 1e-300, true, false, "", []],
      ["žluťoučký kůň", "漢字かな", "🎻👩‍🚀🇨🇿", "e\u0301", '\u2028\u0000\\"/'],
      [{ "": { "🎻": [[], {}, [[null]]] }, __proto__x: 1 }],
      [[["text"]], { a: { b: { c: { d: "deep" } } } }],
      ["_placeholder", { num: 0 }],
    ]) {
      await echoed(play, socket, args);
    }
  },

  async "carries long texts"(play) {
    const socket = await play.connected();
    for (const text of [
      "x".repeat(70_000),
      "é🎻漢".repeat(8_000),
      "x".repeat(500_000),
      "🎻".repeat(120_000),
    ]) {
      await echoed(play, socket, [text]);
    }
  },

  async "carries bytes"(play) {
    const socket = await play.connected();
    const every = Buffer.from(range(256));
    // The msgpack library writes an ArrayBuffer as an extension of its own, and not as bytes.
    const lent = play.mode.startsWith("msgpack") ? every : every.buffer.slice(0, 4);
    for (const args of [
      [every],
      [Buffer.alloc(0)],
      [new Uint8Array([1, 2, 3]), "text", lent],
      [{ nested: { list: [every, [Buffer.from("é")]], text: "🎻" } }, every],
      range(10).map((number) => Buffer.from([number])),
      [Buffer.alloc(200_000, "xyz"), "and", Buffer.alloc(70_000, 1)],
    ]) {
      await echoed(play, socket, args);
    }
  },

  async "carries texts and bytes mixed, in order"(play) {
    const socket = await play.connected();
    const came = play.collected(socket, "back", 60);
    const sent = range(60).map((n) =>
      n % 3 ? [n] : [n, Buffer.from([n]), { also: Buffer.from([n, n]) }],
    );
    for (const args of sent) socket.emit("back", ...args);
    same(await came, sent);
  },

  async "answers calls of the server"(play) {
    const socket = await play.connected();
    socket.on("sum", (...args) => args.at(-1)(args.slice(0, -1).reduce((a, b) => a + b, 0)));
    socket.on("several", (answer) => answer(1, "two", { three: Buffer.from([3]) }));
    socket.on("nothing", (answer) => answer());
    socket.on("echo", (value, answer) => answer(value));
    socket.on("mute", () => undefined);
    equal(await socket.emitWithAck("call_me", "sum", 1, 2, 3), 6);
    const several = await new Promise((resolve) =>
      socket.emit("call_me", "several", (...got) => resolve(got)),
    );
    same(several.flat(), [1, "two", { three: Buffer.from([3]) }]);
    same(
      await socket.emitWithAck("call_me", "echo", Buffer.alloc(70_000, 7)),
      Buffer.alloc(70_000, 7),
    );
    await socket.emitWithAck("call_me", "nothing");
    equal(await socket.emitWithAck("call_me_briefly", "mute"), "no answer");
    equal(await socket.emitWithAck("call_me", "sum", 4), 4);
  },

  async "answers calls to a room"(play) {
    const callers = await Promise.all(range(4).map(() => play.connected()));
    for (const [n, socket] of callers.entries()) {
      await socket.emitWithAck("enter", "panel");
      if (n < 3)
        socket.on("vote", (motion, answer) => answer({ motion, by: n, raw: Buffer.from([n]) }));
    }
    const outside = await play.connected();
    outside.on("vote", () => ok(false, "not in the room"));
    const { answers, missing } = await outside.emitWithAck("call_room", "vote", "panel", "🎻");
    deepEqual(missing, [callers[3].id]);
    const expected = range(3).map((n) => [
      callers[n].id,
      { motion: "🎻", by: n, raw: Buffer.from([n]) },
    ]);
    same(answers, Object.fromEntries(expected));
  },

  async "receives 200 events of one tick, complete and in order"(play) {
    const socket = await play.connected();
    const came = play.collected(socket, "item", 200);
    socket.emit("items", 200);
    same(
      await came,
      range(200).map((n) => (n % 10 === 9 ? [n, Buffer.from([n, n, n])] : [n])),
    );
  },

  async "sends 200 events in one tick, complete and in order"(play) {
    const socket = await play.connected();
    for (const number of range(200)) socket.emit("note", number);
    deepEqual(await play.ask("notes", 200), range(200));
  },

  async "sends and receives at once"(play) {
    const socket = await play.connected();
    const came = play.collected(socket, "item", 300);
    const answers = [];
    for (const round of range(10)) {
      socket.emit("items", 30);
      for (const n of range(20)) answers.push(socket.emitWithAck("echo", round * 20 + n));
      await play.sleep(5);
    }
    deepEqual(await Promise.all(answers), range(200));
    deepEqual(
      firsts(await came).sort((a, b) => a - b),
      range(300).map((n) => Math.floor(n / 10)),
    );
  },

  async "has its events handled in order, where the server is told so"(play) {
    const socket = await play.connected();
    socket.on("double", (number, answer) => answer(2 * number));
    const order = [];
    const done = [
      ["nap", 0.8, "slow"],
      ["echo", "after it"],
      ["call_me", "double", 21], // its handler waits for an acknowledgement
      ["nap", 0.01, "last"],
    ].map(async ([event, ...args]) => order.push(plain(await socket.emitWithAck(event, ...args))));
    await Promise.all(done);
    deepEqual(order, ["slow", "after it", 42, "last"]);
  },

  async "gives up waiting for an answer"(play) {
    const socket = await play.connected();
    await rejects(socket.timeout(150).emitWithAck("nap", 0.5, "late"), /timed out/);
    equal(await socket.timeout(5_000).emitWithAck("echo", "in time"), "in time");
    await play.sleep(500); // the late answer comes, and nobody minds
    equal(await socket.emitWithAck("echo", "and on"), "and on");
  },

  async "tries again until it is answered"(play) {
    const socket = await play.connected({ retries: 3, ackTimeout: 300 });
    const answer = await new Promise((resolve, reject) =>
      socket.emit("second_try", "key", (error, tries) => (error ? reject(error) : resolve(tries))),
    );
    equal(answer, 2);
  },

  async "may miss volatile events, and no other"(play) {
    const socket = await play.connected();
    const came = [];
    socket.on("item", (value) => came.push(value));
    socket.emit("volatile_items", 5);
    while (came.at(-1) !== "end") await play.sleep(10);
    const numbers = came.slice(0, -1);
    deepEqual(numbers, [...numbers].sort());
    await play.sleep(100); // now nothing is in the way
    const news = play.heard(socket, "item");
    await play.ask("emit_volatile", "item", "news", socket.id);
    deepEqual(await news, ["news"]);
    socket.volatile.emit("note", 1);
    deepEqual(await play.ask("notes", 1), [1]);
    socket.disconnect();
    socket.volatile.emit("note", 2);
    socket.connect();
    socket.emit("note", 3);
    deepEqual(await play.ask("notes", 2), [1, 3]);
  },
};

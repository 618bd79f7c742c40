/** Connection state recovery: what was missed arrives, once and in order, before `connect`. */
import { deepEqual, equal, notEqual, ok } from "node:assert/strict";
import { range, same } from "./values.mjs";

/** Events that can be recovered end with their offset, which the application sees too. */
const said = (events) =>
  events.map((args) => {
    equal(typeof args.at(-1), "string");
    return args.slice(0, -1);
  });

/**
 * Break the connection without a word of Engine.IO. Of a WebSocket the server knows it at once;
 * a poll stays open, and the server goes on speaking to nobody.
 */
const lose = async (play, socket, losses = 1) => {
  if (play.mode === "upgrade") await play.upgraded(socket);
  const { engine } = socket.io;
  const lost = play.heard(socket, "disconnect");
  socket.io.reconnection(false);
  if (engine.transport.name === "websocket") {
    engine.transport.ws.terminate();
    await lost;
    equal((await play.ask("departed", losses)).length, losses);
  } else {
    engine.transport.doClose = () => undefined;
    engine.close();
    await lost;
  }
};

const back = async (play, socket) => {
  const there = play.heard(socket, "connect");
  socket.connect();
  await there;
};

/** Come back, and return everything heard until now, "connect" included. */
const missed = async (play, socket) => {
  const order = [];
  const note = (...args) => order.push(args);
  const connected = () => order.push("connect");
  socket.on("news", note).on("connect", connected);
  await back(play, socket);
  await play.sleep(50);
  socket.off("news", note).off("connect", connected);
  return order;
};

export const recovering = {
  async "recovers what it missed, its id and its rooms"(play) {
    const socket = await play.connected({ auth: { token: "mine" } });
    const { id } = socket;
    ok(!socket.recovered);
    await socket.emitWithAck("enter", "hall");
    const live = play.collected(socket, "news", 3);
    for (const n of range(3)) await play.ask("publish", "news", [n]);
    deepEqual(said(await live), [[0], [1], [2]]);
    await lose(play, socket);
    await play.ask("publish", "news", [3, "🎻", { deep: [null] }]);
    await play.ask("publish", "news", ["to another room"], { room: "cellar" });
    await play.ask("publish", "news", [4], { room: "hall" });
    await play.ask("publish", "news", ["not to it"], { skip_sid: id });
    await play.ask("publish", "news", ["only now"], { volatile: true });
    await play.ask("publish", "news", [5, { raw: { bytes: "00ff" } }, { bytes: "07" }]);
    await play.ask("publish", "news", [6], { room: id });
    const order = await missed(play, socket);
    equal(order.at(-1), "connect");
    same(said(order.slice(0, -1)), [
      [3, "🎻", { deep: [null] }],
      [4],
      [5, { raw: Buffer.from([0, 255]) }, Buffer.from([7])],
      [6],
    ]);
    ok(socket.recovered);
    equal(socket.id, id);
    const more = play.collected(socket, "news", 2);
    await play.ask("publish", "news", [7], { room: "hall" });
    await play.ask("publish", "news", [8], { room: id });
    deepEqual(said(await more), [[7], [8]]);
    const known = await socket.emitWithAck("whoami");
    deepEqual([known.sid, known.auth.token], [id, "mine"]);
  },

  async "recovers although it has heard nothing yet"(play) {
    const socket = await play.connected();
    const { id } = socket;
    await lose(play, socket);
    for (const n of range(3)) await play.ask("publish", "news", [n]);
    const order = await missed(play, socket);
    deepEqual(said(order.slice(0, -1)), [[0], [1], [2]]);
    equal(socket.id, id);
    ok(socket.recovered);
  },

  async "recovers again and again"(play) {
    const socket = await play.connected();
    const { id } = socket;
    for (const round of range(4)) {
      const live = play.heard(socket, "news");
      await play.ask("publish", "news", [`live ${round}`]);
      await live;
      await lose(play, socket, round + 1);
      for (const n of range(round)) await play.ask("publish", "news", [round, n]);
      const order = await missed(play, socket);
      deepEqual(
        said(order.slice(0, -1)),
        range(round).map((n) => [round, n]),
      );
      equal(socket.id, id);
      ok(socket.recovered);
    }
  },

  async "recovers many events"(play) {
    const socket = await play.connected();
    await lose(play, socket);
    for (const n of range(200)) await play.ask("publish", "news", [n, "x".repeat(500)]);
    const came = play.collected(socket, "news", 200);
    socket.connect();
    deepEqual(
      said(await came).map(([n]) => n),
      range(200),
    );
    ok(socket.recovered);
  },

  async "sends what it wanted to say meanwhile"(play) {
    const socket = await play.connected();
    await lose(play, socket);
    for (const n of range(20)) socket.emit("note", n);
    const answer = socket.emitWithAck("echo", "late");
    await back(play, socket);
    equal(await answer, "late");
    deepEqual(await play.ask("notes", 20), range(20));
  },

  async "has no offset where nothing can be recovered"(play) {
    const manager = play.manager();
    const socket = await play.connected({ manager });
    await play.sleep(100); // a volatile event needs an open way
    const heard = play.heard(socket, "news");
    await play.ask("publish", "news", [1], { volatile: true });
    deepEqual(await heard, [1]);
    socket.on("double", (number, answer) => answer(2 * number));
    equal(await socket.emitWithAck("call_me", "double", 21), 42);
    const chat = await play.connected({ manager, namespace: "/chat" });
    const told = play.heard(chat, "back");
    chat.emit("back", 1, 2);
    deepEqual(await told, [1, 2]);
    ok(!chat.recovered);
  },

  async "is somebody new after it left"(play) {
    const socket = await play.connected();
    const { id } = socket;
    socket.disconnect();
    await play.ask("departed", 1);
    await play.ask("publish", "news", ["missed for good"]);
    deepEqual(await missed(play, socket), ["connect"]);
    notEqual(socket.id, id);
    ok(!socket.recovered);
  },

  async "is somebody new after the server sent it away"(play) {
    const socket = await play.connected();
    const { id } = socket;
    const left = play.heard(socket, "disconnect");
    socket.emit("dismiss");
    await left;
    deepEqual(await missed(play, socket), ["connect"]);
    notEqual(socket.id, id);
    ok(!socket.recovered);
  },

  async "is somebody new when it comes back too late"(play) {
    const socket = await play.connected();
    const { id } = socket;
    await lose(play, socket);
    await play.ask("publish", "news", ["missed for good"]);
    await play.sleep(1_000);
    deepEqual(await missed(play, socket), ["connect"]);
    notEqual(socket.id, id);
    ok(!socket.recovered);
  },

  async "is somebody new when it missed too much"(play) {
    const socket = await play.connected();
    const { id } = socket;
    await lose(play, socket);
    for (const n of range(20)) await play.ask("publish", "news", [n, "x".repeat(1_000)]);
    deepEqual(await missed(play, socket), ["connect"]);
    notEqual(socket.id, id);
    ok(!socket.recovered);
  },

  async "is somebody new where nothing is kept"(play) {
    const chat = await play.connected({ namespace: "/chat" });
    const { id } = chat;
    const told = play.heard(chat, "back");
    chat.emit("back", "text");
    deepEqual(await told, ["text"]);
    await lose(play, chat);
    await play.ask("publish", "news", ["missed for good"], { namespace: "/chat" });
    deepEqual(await missed(play, chat), ["connect"]);
    notEqual(chat.id, id);
    ok(!chat.recovered);
  },

  async "must show who it is when it comes back"(play) {
    const socket = await play.connected({ auth: { token: "mine" } });
    await lose(play, socket);
    await play.ask("publish", "news", ["secret"]);
    socket.on("news", () => ok(false, "told to somebody who was refused"));
    socket.auth = { refuse: ["not you"] };
    socket.connect();
    const [error] = await play.heard(socket, "connect_error");
    equal(error.message, "not you");
  },

  async "comes back before the server knows that it was gone"(play) {
    const socket = await play.connected();
    const { id } = socket;
    const heard = play.heard(socket, "news");
    await play.ask("publish", "news", [1]);
    await heard;
    const lost = play.heard(socket, "disconnect");
    socket.io.reconnection(false);
    const auth = { pid: socket._pid, offset: socket._lastOffset };
    const again = await play.connected({ auth });
    equal(again.id, id);
    await lost;
    equal(await again.emitWithAck("echo", 1), 1);
    equal((await play.ask("departed", 1)).length, 1);
  },

  async "cannot be somebody else"(play) {
    const socket = await play.connected();
    const heard = play.heard(socket, "news");
    await play.ask("publish", "news", [1]);
    await heard;
    const { _pid: pid, _lastOffset: offset } = socket;
    for (const auth of [
      { pid: "guessed", offset },
      { pid: "guessed" },
      { pid: 7, offset: { a: 1 } },
      { pid: null, offset: null },
      { pid: [], offset: "x".repeat(10_000) },
    ]) {
      const other = await play.connected({ auth });
      notEqual(other.id, socket.id);
      notEqual(other._pid, pid);
    }
    equal(await socket.emitWithAck("echo", "still here"), "still here");
  },
};

/** Coming in, or being refused. */
import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import { range } from "./values.mjs";

export const connecting = {
  async "connects with and without auth"(play) {
    const auth = { token: "a ✓ 🎻", nested: { list: [1, 2.5, null, true] } };
    const socket = await play.connected({ auth });
    const known = await socket.emitWithAck("whoami");
    deepEqual(known.auth, auth);
    equal(known.sid, socket.id);
    notEqual(socket.id, socket.io.engine.id);
    ok(["websocket", "polling"].includes(known.transport));
    const other = await play.connected();
    notEqual(other.id, socket.id);
    deepEqual((await other.emitWithAck("whoami")).auth, null);
    const computed = await play.connected({ auth: (give) => give({ token: "late" }) });
    deepEqual((await computed.emitWithAck("whoami")).auth, { token: "late" });
  },

  async "is told why it is refused"(play) {
    const details = { code: "expired", hint: ["é", "🎻"] };
    for (const [refuse, message, data] of [
      [["no entry"], "no entry", undefined],
      [["no entry", details], "no entry", details],
      [[], "Connection rejected by server", undefined],
    ]) {
      const socket = play.socket({ auth: { refuse } });
      const [error] = await play.heard(socket, "connect_error");
      equal(error.message, message);
      deepEqual(error.data, data);
      ok(!socket.connected && !socket.active);
      socket.auth = {};
      socket.connect(); // may come again, on the same connection or another
      await play.heard(socket, "connect");
    }
  },

  async "is told of a connect handler that fails"(play) {
    const manager = play.manager();
    const good = await play.connected({ manager });
    const bad = play.socket({ manager, namespace: "/chat", auth: { fail: true } });
    const [error] = await play.heard(bad, "connect_error");
    equal(typeof error.message, "string");
    ok(error.message.length > 0);
    deepEqual(await good.emitWithAck("echo", 1), 1);
  },

  async "is told of an unknown namespace"(play) {
    const manager = play.manager();
    const known = await play.connected({ manager });
    for (const namespace of ["/nowhere", "/chat/more", "/späté"]) {
      const [error] = await play.heard(play.socket({ manager, namespace }), "connect_error");
      equal(error.message, "Invalid namespace");
    }
    equal(await known.emitWithAck("echo", "still here"), "still here");
  },

  async "has several namespaces on one connection"(play) {
    const manager = play.manager();
    const names = ["/", "/chat", "/news"];
    const sockets = names.map((namespace) =>
      play.socket({ manager, namespace, auth: { namespace } }),
    );
    await Promise.all(sockets.map((socket) => play.heard(socket, "connect")));
    equal(new Set(sockets.map(({ id }) => id)).size, 3);
    for (const [n, socket] of sockets.entries()) {
      const told = play.heard(socket, "told");
      await socket.emitWithAck("enter", "room");
      socket.emit("tell", "room", names[n]);
      deepEqual(await told, [names[n]]);
      deepEqual((await socket.emitWithAck("whoami")).auth, { namespace: names[n] });
    }
    const { id } = sockets[1];
    sockets[1].disconnect();
    await rejects(sockets[1].timeout(100).emitWithAck("echo", 1));
    equal(await sockets[0].emitWithAck("echo", 2), 2);
    equal(await sockets[2].emitWithAck("echo", 3), 3);
    deepEqual(await play.ask("departed", 1), [["/chat", id, "client disconnect"]]);
  },

  async "hears what is emitted in connect after it connected"(play) {
    const socket = play.socket({ auth: { greetings: 20 } });
    const order = [];
    socket.on("connect", () => order.push("connect"));
    socket.on("greeting", (number) => order.push(number));
    await play.collected(socket, "greeting", 20);
    deepEqual(order, ["connect", ...range(20)]);
  },

  async "emits before it is connected"(play) {
    const socket = play.socket();
    for (const number of range(40)) socket.emit("note", number);
    const answers = range(40).map((number) => socket.emitWithAck("echo", number, Buffer.from([1])));
    deepEqual(await Promise.all(answers), range(40));
    deepEqual(await play.ask("notes", 40), range(40));
  },

  async "is not held up by a connect handler of another namespace"(play) {
    const manager = play.manager();
    const socket = await play.connected({ manager });
    const napping = play.socket({ manager, namespace: "/napping" });
    let isThere = false;
    const there = play.heard(napping, "connect").then(() => {
      isThere = true;
    });
    napping.emit("note", 7);
    equal(await socket.emitWithAck("echo", 1), 1);
    equal(isThere, false);
    await there;
    deepEqual(await play.ask("notes", 1), [7]);
  },

  async "stays connected by heartbeats"(play) {
    const socket = await play.connected();
    const { id } = socket;
    let pings = 0;
    socket.io.on("ping", () => {
      pings += 1;
    });
    while (pings < 4) await play.sleep(50);
    equal((await socket.emitWithAck("whoami")).sid, id);
  },
};

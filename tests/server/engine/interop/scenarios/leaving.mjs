/** Leaving, being sent away, and coming back. */
import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { range } from "./values.mjs";

export const leaving = {
  async leaves(play) {
    const socket = await play.connected();
    const { id } = socket;
    const left = play.heard(socket, "disconnect");
    socket.disconnect();
    deepEqual((await left)[0], "io client disconnect");
    deepEqual(await play.ask("departed", 1), [["/", id, "client disconnect"]]);
    equal(await play.ask("connections", 0), 0);
  },

  async "is told to leave one namespace"(play) {
    const manager = play.manager();
    const [chat, news] = await Promise.all(
      ["/chat", "/news"].map((namespace) => play.connected({ manager, namespace })),
    );
    const { id } = chat;
    const left = play.heard(chat, "disconnect");
    chat.emit("dismiss");
    deepEqual((await left)[0], "io server disconnect");
    deepEqual(await play.ask("departed", 1), [["/chat", id, "server disconnect"]]);
    equal(await news.emitWithAck("echo", 1), 1);
    chat.connect();
    await play.heard(chat, "connect");
    equal(await chat.emitWithAck("echo", 2), 2);
  },

  async "is sent away wholly"(play) {
    const manager = play.manager({ reconnection: false });
    const [chat, news] = await Promise.all(
      ["/chat", "/news"].map((namespace) => play.connected({ manager, namespace })),
    );
    const closed = play.heard(manager, "close");
    const left = Promise.all([chat, news].map((socket) => play.heard(socket, "disconnect")));
    chat.emit("dismiss_wholly");
    for (const [reason] of await left) match(reason, /io server disconnect|transport close/);
    await closed;
    const departed = await play.ask("departed", 2);
    deepEqual(departed.map(([namespace]) => namespace).sort(), ["/chat", "/news"]);
    equal(await play.ask("connections", 0), 0);
  },

  async "leaves a namespace and joins it again in one tick"(play) {
    const manager = play.manager();
    const other = await play.connected({ manager, namespace: "/chat" });
    const socket = await play.connected({ manager });
    const [before, engine] = [socket.id, manager.engine.id];
    for (const _ of range(3)) {
      socket.disconnect().connect();
      await play.heard(socket, "connect");
      notEqual(socket.id, before);
      equal((await socket.emitWithAck("whoami")).sid, socket.id);
    }
    equal(manager.engine.id, engine);
    equal(await other.emitWithAck("echo", 1), 1);
    equal((await play.ask("departed", 3)).length, 3);
  },

  async "comes back after the server closed its transport"(play) {
    const socket = await play.connected({ auth: { token: "mine" } });
    const { id } = socket;
    const lost = play.heard(socket, "disconnect");
    socket.emit("drop");
    const [reason] = await lost;
    match(reason, /transport (close|error)/);
    const answer = socket.emitWithAck("echo", "from before");
    for (const number of range(30)) socket.emit("note", number);
    equal(await answer, "from before");
    notEqual(socket.id, id);
    deepEqual((await socket.emitWithAck("whoami")).auth, { token: "mine" });
    deepEqual(await play.ask("notes", 30), range(30));
    deepEqual(
      (await play.ask("departed", 1)).map(([, sid]) => sid),
      [id],
    );
  },

  async "comes back after its connection was cut"(play) {
    const socket = await play.connected();
    const { id } = socket;
    const again = play.waiting("another connect", (resolve) => socket.on("connect", resolve));
    await play.upgraded(socket);
    socket.io.engine.transport.ws.terminate();
    await again;
    notEqual(socket.id, id);
    equal(await socket.emitWithAck("echo", 1), 1);
    deepEqual(
      (await play.ask("departed", 1)).map(([, sid]) => sid),
      [id],
    );
  },

  async "comes back after the server restarted"(play) {
    const manager = play.manager();
    const [socket, chat] = await Promise.all(
      ["/", "/chat"].map((namespace) => play.connected({ manager, namespace })),
    );
    const { id } = socket;
    const lost = Promise.all([socket, chat].map((one) => play.heard(one, "disconnect")));
    const restarted = play.ask("restart");
    await lost;
    const answers = range(20).map((number) => socket.emitWithAck("echo", number));
    const more = range(20).map((number) => chat.emitWithAck("echo", number));
    await restarted;
    deepEqual(await Promise.all(answers), range(20));
    deepEqual(await Promise.all(more), range(20));
    notEqual(socket.id, id);
  },
};

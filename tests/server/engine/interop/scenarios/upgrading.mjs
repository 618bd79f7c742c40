/** Changing from polling to a WebSocket while much is said. */
import { deepEqual, equal } from "node:assert/strict";
import { firsts, range } from "./values.mjs";

export const upgrading = {
  async "keeps order and loses nothing while it upgrades"(play) {
    const socket = await play.connected();
    const upgraded = play.upgraded(socket);
    const came = play.collected(socket, "back", 400);
    let isOver = false;
    upgraded.then(() => {
      isOver = true;
    });
    let sent = 0;
    const more = () => {
      const number = sent++;
      socket.emit("note", number);
      if (number % 7) socket.emit("back", number);
      else socket.emit("back", number, Buffer.from([number % 256]));
    };
    while (!isOver && sent < 300) {
      for (const _ of range(3)) more();
      await play.sleep(1);
    }
    while (sent < 400) more();
    deepEqual(firsts(await came), range(400));
    deepEqual(await play.ask("notes", 400), range(400));
    await upgraded;
    equal((await socket.emitWithAck("whoami")).transport, "websocket");
  },

  async "receives a flood while it upgrades"(play) {
    const socket = play.socket({ auth: { greetings: 100 } });
    const came = play.collected(socket, "greeting", 100);
    await play.heard(socket, "connect");
    const items = play.collected(socket, "item", 600);
    for (const _ of range(3)) {
      await socket.emitWithAck("items", 200);
    }
    deepEqual(firsts(await came), range(100));
    deepEqual(firsts(await items), [...range(200), ...range(200), ...range(200)]);
    await play.upgraded(socket);
    equal(await socket.emitWithAck("echo", 1), 1);
  },
};

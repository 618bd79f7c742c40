/**
 * Plays scenarios with the official JavaScript client, one at a time, as it is told.
 *
 * It reads JSON, one value a line: `{"play": scenario, "url": …, "mode": …}`. It writes
 * `{"ask": what, "args": […]}`, for what only the server's side can do, and reads `{"answer": …}`;
 * at last `{"played": scenario}`, with `error` where something was not as it must be.
 */
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { scenarios } from "./scenarios/all.mjs";

const require = createRequire(new URL("../../../../web_client/package.json", import.meta.url));
const { Manager } = require("socket.io-client");
const parser = require("socket.io-msgpack-parser");

const PATIENCE_MS = 12_000;
const MODES = {
  websocket: { transports: ["websocket"], perMessageDeflate: false },
  deflate: { transports: ["websocket"], perMessageDeflate: { threshold: 100 } },
  polling: { transports: ["polling"] },
  upgrade: { transports: ["polling", "websocket"] },
  msgpack: { transports: ["websocket"], parser },
  "msgpack-polling": { transports: ["polling"], parser },
  "msgpack-upgrade": { transports: ["polling", "websocket"], parser },
};

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const read = async () => JSON.parse((await lines.next()).value ?? "null");
const write = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

/** One scenario under way: its connections, and what it waits for. */
class Play {
  /** What is awaited; said when the time is over. */
  awaited = new Set();
  managers = [];

  constructor({ url, mode }) {
    this.url = url;
    this.mode = mode;
  }

  /** Make a connection; `mode` and options may differ from those of the play. */
  manager({ mode = this.mode, ...options } = {}) {
    const made = new Manager(this.url, {
      ...MODES[mode],
      autoConnect: false,
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
      ...options,
    });
    this.managers.push(made);
    return made;
  }

  /** Return a socket of a connection of its own, connecting. */
  socket({ namespace = "/", auth, manager, ...options } = {}) {
    const { ackTimeout, retries, ...others } = options;
    const socket = (manager ?? this.manager(others)).socket(namespace, {
      ...(auth === undefined ? {} : { auth }),
      ...(retries === undefined ? {} : { ackTimeout, retries }),
    });
    return socket.connect();
  }

  /** Return a socket that has connected. */
  async connected(options) {
    const socket = this.socket(options);
    await this.heard(socket, "connect");
    return socket;
  }

  /** Wait for the next `event` of a socket, and return its arguments. */
  heard(socket, event) {
    return this.waiting(`${event} of ${socket.nsp ?? "the manager"}`, (resolve) =>
      socket.once(event, (...args) => resolve(args)),
    );
  }

  /** Wait for `count` events, and return the arguments of each. */
  collected(socket, event, count) {
    const came = [];
    const name = () => `${event} of ${socket.nsp}, ${came.length} of ${count} came`;
    return this.waiting(name, (resolve) => {
      socket.on(event, (...args) => {
        came.push(args);
        if (came.length === count) resolve(came);
      });
    });
  }

  /** Wait until the connection of `socket` has become a WebSocket. */
  upgraded(socket) {
    const { engine } = socket.io;
    return this.waiting("the upgrade", (resolve) => {
      if (engine.transport.name === "websocket") resolve();
      else engine.once("upgrade", resolve);
    });
  }

  /** Let the server's side do something, and return what it says. */
  async ask(what, ...args) {
    write({ ask: what, args });
    return (await read()).answer;
  }

  sleep(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  async waiting(name, start) {
    const named = typeof name === "function" ? name : () => name;
    this.awaited.add(named);
    try {
      return await new Promise(start);
    } finally {
      this.awaited.delete(named);
    }
  }

  /** Run `scenario`; rejects when it fails, and when it takes too long. */
  async run(scenario) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => {
        const awaited = [...this.awaited].map((name) => name());
        reject(new Error(`still waiting for: ${awaited.join("; ") || "an answer"}`));
      }, PATIENCE_MS);
    });
    try {
      await Promise.race([scenario(this), late]);
    } finally {
      clearTimeout(timer);
      for (const manager of this.managers) {
        manager.reconnection(false);
        manager._close();
      }
    }
  }
}

let fail = () => undefined;
process.on("unhandledRejection", (reason) => fail(reason));

for (let order = await read(); order !== null; order = await read()) {
  const play = new Play(order);
  const broken = new Promise((_, reject) => {
    fail = reject;
  });
  try {
    await Promise.race([play.run(scenarios[order.play]), broken]);
    write({ played: order.play });
  } catch (error) {
    write({ played: order.play, error: error.stack ?? String(error) });
  }
}
process.exit();

import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import { StrettoError } from "../src/errors.js";
import type { PersistOption } from "../src/vault.js";
import { FakeLocks, TestServer, until } from "./server.js";

const TOKEN = `x.${btoa(JSON.stringify({ sub: "ann" }))}.y`;

let storage: IDBFactory;
let locks: FakeLocks;
let server: TestServer;
let clients: RealtimeClient[];

beforeEach(() => {
  storage = new IDBFactory();
  locks = new FakeLocks();
  server = new TestServer();
  clients = [];
});
afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(clients.map((client) => client.close()));
});

/** A tab. */
function tab(options: { locks?: FakeLocks | null; token?: string } = {}): RealtimeClient {
  const persist: PersistOption = {
    name: "test",
    indexedDB: storage,
    locks: options.locks === undefined ? locks : options.locks,
  };
  const { connect } = server;
  const auth = { token: options.token ?? TOKEN };
  const client = new RealtimeClient({ url: "http://x", auth, connect, random: () => 0, persist });
  clients.push(client);
  return client;
}

/** Let a tab die as browsers let them: nothing runs in it any more. */
async function kill(client: RealtimeClient): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20)); // what was written is written
  clients = clients.filter((other) => other !== client);
  Object.assign(client, { enter: () => undefined, establish: () => undefined });
  (client as unknown as { drop(): void }).drop();
  locks.killAll();
}

async function offline(client: RealtimeClient) {
  const doc = await client.open("d");
  server.down();
  return doc;
}

describe("a tab that is closed", () => {
  it("leaves its unsent edits to the next one, which shows them offline and delivers them", async () => {
    const first = tab();
    const doc = await offline(first);
    doc.insert(0, "typed 😀 offline");
    await kill(first);

    const second = tab();
    second.connect().catch(() => undefined);
    const again = await second.open("d");
    expect(again.text).toBe("typed 😀 offline");
    expect([again.status, again.unsent]).toEqual(["offline", 1]);
    expect(await second.unsent()).toMatchObject([{ doc: "d", user: "ann" }]);
    server.up = true;
    await until(() => again.status === "saved");
    expect(server.authority.text).toBe("typed 😀 offline");
    expect(server.authority.version).toBe(1);
    await until(() => again.unsent === 0);
    expect(await second.unsent()).toEqual([]);
  });

  it("with an operation in flight that committed: it counts once", async () => {
    const first = tab();
    const doc = await first.open("d");
    server.before = (event) => {
      if (event === "cursor") return;
      server.before = () => undefined;
    };
    const { authority } = server;
    const answer = authority.answer.bind(authority);
    authority.answer = (event, payload) => {
      const given = answer(event, payload);
      if (event === "submit") server.down(); // it committed, and nobody was told
      return given;
    };
    doc.insert(0, "once");
    await until(() => authority.version === 1);
    doc.insert(4, " and more");
    authority.answer = answer;
    await kill(first);
    server.up = true;

    const again = await tab().open("d");
    await until(() => again.status === "saved");
    expect(authority.text).toBe("once and more");
    expect(authority.entries.map(({ seq }) => seq)).toEqual([1, 2]);
  });

  it("beyond the retained log: what was typed moves over to the snapshot", async () => {
    const first = tab();
    const doc = await first.open("d");
    doc.insert(0, "one two");
    await doc.saved();
    server.down();
    doc.insert(7, " three");
    doc.delete(0, 3);
    await kill(first);
    server.commit([7, " 2"], 1);
    server.authority.floor = server.authority.version;
    server.up = true;

    const again = await tab().open("d");
    await until(() => again.status === "saved");
    expect(again.text).toBe(server.authority.text);
    expect(server.authority.text).toContain(" three");
    expect(server.authority.text).toContain(" 2");
    expect(server.authority.text).not.toContain("one");
  });

  it("among several: each one's edits are delivered", async () => {
    const tabs = [tab(), tab(), tab()];
    const docs = await Promise.all(tabs.map((client) => client.open("d")));
    server.down();
    for (const [index, doc] of docs.entries()) doc.insert(0, `<${index}>`);
    for (const client of tabs) await kill(client);
    server.up = true;
    const again = await tab().open("d");
    await until(() => again.status === "saved" && server.authority.version === 3);
    const found = server.authority.text.match(/<\d>/g)?.sort();
    expect(found).toEqual(["<0>", "<1>", "<2>"]);
    expect(again.text).toBe(server.authority.text);
    expect(new Set(server.authority.entries.map(({ client }) => client)).size).toBe(3);
  });

  it("is left alone while it lives, and by other users", async () => {
    const first = tab();
    const doc = await offline(first);
    doc.insert(0, "mine");
    await new Promise((resolve) => setTimeout(resolve, 20));
    server.up = true;
    server.before = () => Promise.reject(new StrettoError("unavailable", "not yet"));
    const bob = tab({ token: `x.${btoa(JSON.stringify({ sub: "bob" }))}.y` });
    server.user = "bob";
    const second = tab();
    server.before = () => undefined;
    const theirs = await bob.open("d");
    expect(theirs.unsent).toBe(0);
    const other = await second.open("d");
    expect(other.unsent).toBe(0);
    await until(() => doc.status === "saved");
    expect(server.authority.text).toBe("mine");
  });
});

describe("without locks", () => {
  it("a row is taken over after a while, behind a fence; the tab that had it gives up", async () => {
    const first = tab({ locks: null });
    const doc = await offline(first);
    const closed = vi.fn();
    doc.on("closed", closed);
    doc.insert(0, "typed");
    await new Promise((resolve) => setTimeout(resolve, 20));
    const early = tab({ locks: null });
    server.up = true;
    server.before = async () => {
      await new Promise((resolve) => setTimeout(resolve, 30));
    };
    const [untouched] = await Promise.all([early.open("d")]);
    expect(untouched.text).not.toBe("typed");
    const soon = Date.now() + 31_000;
    vi.spyOn(Date, "now").mockReturnValue(soon);
    server.down();
    doc.insert(5, "!");
    await new Promise((resolve) => setTimeout(resolve, 20));
    vi.spyOn(Date, "now").mockReturnValue(soon + 31_000);
    const late = tab({ locks: null });
    late.connect().catch(() => undefined);
    const again = await late.open("d");
    server.up = true;
    await until(() => again.status === "saved" && closed.mock.calls.length > 0);
    expect(server.authority.text).toBe("typed!");
    expect(closed.mock.calls[0]?.[0].error.message).toContain("another tab");
  });
});

describe("without locks, a tab", () => {
  it("that was offline for long does not take over from itself", async () => {
    const client = tab({ locks: null });
    const doc = await offline(client);
    doc.insert(0, "once");
    await new Promise((resolve) => setTimeout(resolve, 20));
    const later = Date.now() + 60_000;
    vi.spyOn(Date, "now").mockReturnValue(later);
    server.up = true;
    await until(() => doc.status === "saved");
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(server.authority.text).toBe("once");
    expect(doc.isClosed).toBe(false);
  });
});

describe("storage", () => {
  it("has the operation before it leaves", async () => {
    const client = tab();
    const doc = await client.open("d");
    let kept: unknown = null;
    server.before = async (event) => {
      if (event === "submit" && kept === null) kept = await client.unsent();
    };
    doc.insert(0, "x");
    await doc.saved();
    expect(kept).toMatchObject([{ doc: "d" }]);
  });

  it("that fails is told, and delivery goes on", async () => {
    const client = tab();
    const failed = vi.fn();
    client.on("storage.failed", failed);
    const doc = await client.open("d");
    const { open } = storage;
    (client as unknown as { vault: { store: { opened: unknown } } }).vault.store.opened = null;
    storage.open = () => {
      throw new Error("the disk is full");
    };
    doc.insert(0, "x");
    await doc.saved();
    storage.open = open;
    expect(server.authority.text).toBe("x");
    expect(failed.mock.calls[0]?.[0].message).toContain("disk is full");
  });

  it("that was cleared is written anew", async () => {
    const client = tab();
    const doc = await offline(client);
    doc.insert(0, "x");
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { store } = (client as unknown as { vault: { store: never } }).vault as unknown as {
      store: {
        rows(): Promise<{ slot: string; owner: string }[]>;
        remove(s: string, o: string): Promise<void>;
      };
    };
    for (const { slot, owner } of await store.rows()) await store.remove(slot, owner);
    doc.insert(1, "y");
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await store.rows()).toMatchObject([{ state: { buffer: ["xy"] } }]);
  });

  it("writes the text once, then what happened to it", async () => {
    const client = tab();
    const doc = await client.open("d");
    doc.insert(0, "x".repeat(5_000));
    await doc.saved();
    const put = vi.spyOn(
      (client as unknown as { vault: { store: { put: (...args: unknown[]) => unknown } } }).vault
        .store,
      "put",
    );
    for (let i = 0; i < 20; i++) {
      doc.insert(i, "y");
      await doc.saved();
    }
    expect(put.mock.calls.length).toBeGreaterThan(20);
    expect(put.mock.calls.filter(([, base]) => base !== null).length).toBe(0);
  });
});

it("is off where there is nothing to keep edits in, and where nobody asks for it", async () => {
  const { connect } = server;
  for (const persist of [undefined, false, true]) {
    const options = { url: "http://x", auth: { token: TOKEN }, connect };
    const client = new RealtimeClient(persist === undefined ? options : { ...options, persist });
    clients.push(client);
    const doc = await client.open("d");
    doc.insert(0, "x");
    await doc.saved();
    expect(await client.unsent()).toEqual([]);
  }
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import type { ConnectionState } from "../src/client_options.js";
import { asStrettoError, connectionLost, StrettoError } from "../src/errors.js";
import type { Namespace, Payload } from "../src/protocol.js";
import type { Connect, ConnectionListener } from "../src/transport.js";
import { Authority } from "./authority.js";

/** A server of one document, with connections that a test can cut. */
class FakeServer {
  readonly authority = new Authority();
  readonly requests: { event: string; payload: Payload }[] = [];
  readonly tokens: string[] = [];
  refusal: StrettoError | null = null;
  failures: StrettoError[] = [];
  tokenTtl = 100;
  listener: ConnectionListener | null = null;
  connections = 0;
  attempts = 0;
  up = true;

  readonly connect: Connect = async (_url, listener) => {
    this.attempts++;
    if (!this.up) throw connectionLost("nobody there");
    this.listener = listener;
    this.connections++;
    return {
      join: async (namespace, token) => this.join(namespace, token),
      request: (_namespace, event, payload) => this.request(event, payload),
      close: () => undefined,
    };
  };

  send(namespace: Namespace, event: string, payload: Payload): void {
    this.listener?.received(namespace, event, payload);
  }

  drop(): void {
    const { listener } = this;
    this.listener = null;
    listener?.lost(connectionLost());
  }

  private join(namespace: Namespace, token: string): void {
    if (this.refusal !== null) throw this.refusal;
    this.tokens.push(token);
    if (namespace !== "/") return;
    this.send("/", "ready", {
      session_id: "s",
      user: { id: "ann", name: "Ann", color: "#123456" },
      token_ttl_s: this.tokenTtl,
      limits: {},
    });
  }

  private async request(event: string, payload: Payload): Promise<Payload> {
    this.requests.push({ event, payload: structuredClone(payload) });
    if (event === "refresh_token") return { ok: true, token_ttl_s: this.tokenTtl };
    if (event === "cursor" || event === "close") return { ok: true };
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    const before = this.authority.version;
    try {
      const answer = structuredClone(this.authority.answer(event, payload));
      if (this.authority.version > before) {
        queueMicrotask(() => this.send("/docs", "ops", this.authority.frame(before + 1)));
      }
      return answer;
    } catch (reason) {
      throw asStrettoError(reason);
    }
  }
}

function clientOf(server: FakeServer, options: object = { auth: { token: "t" } }): RealtimeClient {
  const { connect } = server;
  return new RealtimeClient({ url: "http://x", connect, random: () => 0.5, ...options });
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("connecting", () => {
  it("joins, tells what the server said, and goes through its states", async () => {
    const server = new FakeServer();
    const client = clientOf(server);
    const states: ConnectionState[] = [];
    const ready = vi.fn();
    client.on("connection.state", (state) => states.push(state));
    client.on("connection.ready", ready);
    await client.connect();
    expect(states).toEqual(["connecting", "connected"]);
    expect(ready).toHaveBeenCalledOnce();
    expect(server.tokens).toEqual(["t", "t", "t"]);
  });

  it("rejects when the server refuses, and may be tried again", async () => {
    const server = new FakeServer();
    server.refusal = new StrettoError("unauthenticated", "who are you");
    const client = clientOf(server);
    await expect(client.connect()).rejects.toThrow("who are you");
    expect(client.state).toBe("refused");
    server.refusal = null;
    await client.connect();
    expect(client.state).toBe("connected");
  });

  it("comes back by itself, waiting longer each time", async () => {
    const server = new FakeServer();
    server.up = false;
    const client = clientOf(server);
    const connected = client.connect();
    await vi.advanceTimersByTimeAsync(1_599);
    expect(server.attempts).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(server.attempts).toBe(2);
    await vi.advanceTimersByTimeAsync(3_099);
    expect(server.attempts).toBe(2);
    server.up = true;
    await vi.advanceTimersByTimeAsync(1);
    await connected;
  });

  it("leaves at a shutdown and returns at the time drawn for it", async () => {
    const server = new FakeServer();
    const client = clientOf(server);
    await client.connect();
    server.send("/", "shutdown", { reason: "deploy", reconnect_after_ms: 700 });
    server.drop();
    await vi.advanceTimersByTimeAsync(699);
    expect(server.connections).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(server.connections).toBe(2);
  });

  it("ends for good with close", async () => {
    const server = new FakeServer();
    const client = clientOf(server);
    await client.connect();
    client.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.attempts).toBe(1);
    await expect(client.connect()).rejects.toThrow("closed");
    await expect(client.request("/rooms", "find", {})).rejects.toThrow("not connected");
  });

  it("needs a token or a way to get one", () => {
    expect(() => new RealtimeClient({ url: "http://x" })).toThrow("auth.token or getToken");
  });
});

describe("tokens", () => {
  it("are renewed before they expire", async () => {
    const server = new FakeServer();
    let count = 0;
    const client = clientOf(server, { getToken: () => `t${++count}` });
    await client.connect();
    await vi.advanceTimersByTimeAsync(74_000);
    expect(server.requests).toEqual([]);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.requests).toEqual([{ event: "refresh_token", payload: { token: "t2" } }]);
    await vi.advanceTimersByTimeAsync(80_000);
    expect(server.requests.length).toBe(2);
  });

  it("are renewed at once when the server says that they expired", async () => {
    const server = new FakeServer();
    const client = clientOf(server, { getToken: () => "fresh" });
    await client.connect();
    const doc = await client.open("d");
    server.send("/", "token_expired", { grace_s: 30 });
    await vi.advanceTimersByTimeAsync(1);
    expect(server.requests.at(-1)).toEqual({ event: "refresh_token", payload: { token: "fresh" } });
    server.failures = [new StrettoError("token_expired", "")];
    doc.insert(0, "x");
    expect(doc.status).toBe("saving");
    await vi.advanceTimersByTimeAsync(3_000);
    expect(doc.status).toBe("saved");
    expect(server.authority.text).toBe("x");
  });
});

describe("a document", () => {
  async function opened(server: FakeServer) {
    const client = clientOf(server);
    await client.connect();
    return { client, doc: await client.open("d") };
  }

  it("is opened once", async () => {
    const server = new FakeServer();
    const { client, doc } = await opened(server);
    expect(await client.open("d")).toBe(doc);
    expect(server.requests.length).toBe(1);
  });

  it("takes edits in string units", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    doc.insert(0, "a😀b");
    doc.insert(3, "c");
    doc.replace(0, 1, "A");
    doc.delete(4, 1);
    doc.move(1, 2, 2);
    doc.apply([1, "é"]);
    expect(doc.text).toBe("Aéc😀");
    expect(() => doc.insert(4, "!")).toThrow("splits");
    await doc.saved();
    expect(server.authority.text).toBe("Aéc😀");
  });

  it("says saving until the journal has everything", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    const statuses: string[] = [];
    doc.on("status", (status) => statuses.push(status));
    doc.insert(0, "x");
    expect([doc.status, doc.unsent]).toEqual(["saving", 1]);
    await doc.saved();
    expect([doc.status, doc.unsent]).toEqual(["saved", 0]);
    expect(statuses).toEqual(["saving", "saved"]);
  });

  it("keeps edits while offline and delivers them once", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    server.up = false;
    server.drop();
    doc.insert(0, "offline");
    expect([doc.status, doc.unsent]).toEqual(["offline", 1]);
    await vi.advanceTimersByTimeAsync(20_000);
    server.up = true;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(doc.status).toBe("saved");
    expect(server.authority.entries.map(({ op }) => op)).toEqual([["offline"]]);
  });

  it("waits as long as the server asks", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    server.failures = [new StrettoError("rate_limited", "", { retryAfterMs: 5_000 })];
    doc.insert(0, "x");
    await vi.advanceTimersByTimeAsync(4_999);
    expect(server.authority.version).toBe(0);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(server.authority.version).toBe(1);
  });

  it("gives refused text back and rejects saved()", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    const refused = vi.fn();
    doc.on("returned", refused);
    doc.insert(0, "REFUSE");
    await expect(doc.saved()).rejects.toThrow("refused by the test");
    expect(refused).toHaveBeenCalledWith(expect.objectContaining({ text: "REFUSE" }));
    expect(doc.text).toBe("");
  });

  it("tells of remote changes in string units", async () => {
    const server = new FakeServer();
    const { client, doc } = await opened(server);
    doc.insert(0, "😀");
    await doc.saved();
    const [changes, updates] = [vi.fn(), vi.fn()];
    doc.on("change", changes);
    client.on("sync.update", updates);
    const other = { epoch: "e1", client: "o".repeat(16), seq: 1, base: 1, op: [1, "!"] };
    server.authority.answer("submit", other);
    server.send("/docs", "ops", { ...server.authority.frame(2), doc: "d" });
    expect(changes.mock.calls[0]?.[0]).toMatchObject({
      origin: "remote",
      changes: [{ from: 2, to: 2, insert: "!" }],
    });
    expect(updates.mock.calls[0]?.[0]).toMatchObject({ doc: "d", version: 2, op: [1, "!"] });
  });

  it("tells others where we are once everything is confirmed, and not what they know", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    const cursors = () => server.requests.filter(({ event }) => event === "cursor");
    doc.insert(0, "😀b");
    doc.setSelection([[2, 3]]);
    await vi.advanceTimersByTimeAsync(200);
    expect(cursors().map(({ payload }) => payload)).toEqual([
      { doc: "d", version: 1, ranges: [[1, 2]] },
    ]);
    doc.insert(3, "c");
    doc.setSelection([[2, 4]]);
    await vi.advanceTimersByTimeAsync(200);
    expect(cursors().length).toBe(1);
    server.drop();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(cursors().length).toBe(2);
  });

  it("is closed for good when the server says so", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    const closed = vi.fn();
    doc.on("closed", closed);
    const error = { code: "not_found", message: "deleted", retryable: false };
    server.send("/docs", "closed", { doc: "d", error });
    expect(closed).toHaveBeenCalledOnce();
    expect(() => doc.insert(0, "x")).toThrow("deleted");
    await expect(doc.saved()).rejects.toThrow("deleted");
  });

  it("fetches its own entry when the ack came and the entry does not", async () => {
    const server = new FakeServer();
    const { doc } = await opened(server);
    const frame = server.authority.frame.bind(server.authority);
    server.authority.frame = () => ({ doc: "other" });
    doc.insert(0, "x");
    await vi.advanceTimersByTimeAsync(4_000);
    expect(doc.status).toBe("saving");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(doc.status).toBe("saved");
    server.authority.frame = frame;
  });
});

/** Whatever a server sends, a client is left with the authority's text and history. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import type { Namespace, Payload } from "../src/protocol.js";
import { Random } from "./random.js";
import { TestServer } from "./server.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const NAMES = ["ops", "behind", "reset", "role", "presence", "ready", "token_expired", "refused"];
const ROOM_NAMES = ["message", "state", "metadata", "presence", "role"];
const STRANGE = [
  "__proto__",
  "constructor",
  "toString",
  "hasOwnProperty",
  "unknown",
  "connect",
  "",
];

/** Any value, of a hostile mind. */
function value(random: Random, depth = 0): unknown {
  const scalars = [
    null,
    true,
    0,
    -1,
    1,
    2,
    1.5,
    2 ** 53,
    Number.NaN,
    "",
    "x",
    "\ud800",
    "d",
    "e1",
    "viewer",
    "f".repeat(16),
  ];
  const dice = random.next();
  if (depth > 3 || dice < 0.6) return random.pick(scalars);
  if (dice < 0.8) return Array.from({ length: random.below(4) }, () => value(random, depth + 1));
  return object(random, depth + 1);
}

/** An object with own keys that a careless copy would make its prototype of. */
function object(random: Random, depth = 0): Payload {
  const keys = [...STRANGE, "doc", "room", "ops", "op", "from", "version", "hash", "epoch", "left"];
  const pairs = Array.from({ length: random.below(5) }, () => {
    const key = JSON.stringify(random.pick(keys));
    return `${key}:${JSON.stringify(value(random, depth)) ?? "null"}`;
  });
  return JSON.parse(`{${pairs.join(",")}}`) as Payload;
}

/** A message as the server would send it, with some of it replaced. */
function mutated(random: Random, server: TestServer): [Namespace, string, Payload] {
  const { authority } = server;
  const entry = { client: "e".repeat(16), seq: 1, op: ["evil"], user: "eve", at_ms: 0 };
  const member = { id: "m9", user: { id: "eve", name: "Eve", color: "#000000" } };
  const { version, hash, epoch } = authority;
  const right: Record<string, Payload> = {
    ops: { epoch, from: version + random.below(4), ops: [entry], hash },
    behind: { version: version + random.below(9) },
    reset: { epoch, version, hash },
    role: { role: "editor" },
    presence: { joined: [member], left: ["m1"], updated: [{ ...member, ranges: [[0, 1]] }] },
    ready: { session_id: "s", user: member.user, token_ttl_s: 60, limits: { op_components: 0 } },
    message: { event: "e", data: object(random), from: member, at_ms: 0 },
    state: { revision: 1 + random.below(3), changes: object(random), by: member },
    metadata: { metadata: object(random) },
  };
  const isRoom = random.chance(0.3);
  const names = random.chance(0.1) ? STRANGE : isRoom ? ROOM_NAMES : NAMES;
  const name = random.pick(names);
  const payload: Payload = { ...(Object.hasOwn(right, name) ? right[name] : object(random)) };
  payload[isRoom ? "room" : "doc"] = "d";
  for (const key of Object.keys(payload)) if (random.chance(0.15)) payload[key] = value(random);
  if (random.chance(0.3)) payload[random.pick(["extra", "constructor"])] = value(random);
  const namespace = isRoom ? "/rooms" : name === "ready" || random.chance(0.05) ? "/" : "/docs";
  return [namespace, name, payload];
}

it("2,000 hostile messages leave text and hash equal to the authority's", async () => {
  const random = new Random(7);
  const server = new TestServer();
  const { connect, authority } = server;
  const options = { url: "http://x", auth: { token: "t" }, connect, random: () => 0.1 };
  const client = new RealtimeClient(options);
  await client.connect();
  const doc = await client.open("d");
  const room = await client.room("d");
  doc.insert(0, "start 😀 ");
  await doc.saved();
  let ours = 0;
  let theirs = 0;
  for (let i = 0; i < 2_000; i++) {
    const [namespace, name, payload] = mutated(random, server);
    server.broadcast(namespace, name, payload);
    if (i % 20 === 0 && doc.role !== "viewer") {
      doc.insert(0, `<${++ours}>`);
    }
    if (i % 33 === 0) server.commit([`(${theirs + 1})`], ++theirs);
    await vi.advanceTimersByTimeAsync(random.below(40));
  }
  await vi.advanceTimersByTimeAsync(200_000);
  expect(client.state).toBe("connected");
  expect(doc.status).toBe("saved");
  expect(doc.text).toBe(authority.text);
  expect(doc.hash).toBe(authority.hash);
  for (let n = 1; n <= ours; n++) expect(authority.text.split(`<${n}>`).length).toBe(2);
  expect(ours).toBeGreaterThan(50);
  expect(room.error).toBeNull();
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect(Object.getPrototypeOf(room.state)).toBeNull();
  // Answers, too.
  authority.answer = ((answer) => (event: string, payload: Payload) => {
    const given = answer(event, payload);
    return random.chance(0.5) ? { ...given, ...object(random) } : given;
  })(authority.answer.bind(authority));
  server.broadcast("/docs", "reset", { doc: "d" });
  for (let i = 0; i < 30; i++) {
    if (doc.role !== "viewer") doc.insert(0, `<${++ours}>`);
    server.broadcast("/docs", "reset", { doc: "d" });
    await vi.advanceTimersByTimeAsync(500);
  }
  await vi.advanceTimersByTimeAsync(600_000);
  expect(doc.status).toBe("saved");
  expect([doc.text, doc.hash]).toEqual([authority.text, authority.hash]);
  for (let n = 1; n <= ours; n++) expect(authority.text.split(`<${n}>`).length).toBe(2);
});

it("keys of a state are only keys", async () => {
  const server = new TestServer();
  const { connect } = server;
  const client = new RealtimeClient({ url: "http://x", auth: { token: "t" }, connect });
  await client.connect();
  const room = await client.room("d");
  const changes: Payload = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}');
  for (const { listener } of server.links) {
    listener.received("/rooms", "state", { room: "d", revision: 1, changes, by: null });
  }
  expect(room.revision).toBe(1);
  const proto: string = "__proto__";
  expect(room.state[proto]).toEqual({ polluted: 1 });
  expect(room.state["constructor"]).toBe(2);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  await client.close();
});

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import { StrettoError } from "../src/errors.js";
import { TestServer } from "./server.js";

let server: TestServer;

beforeEach(() => {
  vi.useFakeTimers();
  server = new TestServer();
});
afterEach(() => {
  vi.useRealTimers();
});

async function connected(): Promise<RealtimeClient> {
  const { connect } = server;
  const options = { url: "http://x", auth: { token: "t" }, connect, random: () => 0.5 };
  const client = new RealtimeClient(options);
  await client.connect();
  return client;
}

describe("a room", () => {
  it("has who and what is there, and is joined once", async () => {
    const client = await connected();
    const room = await client.room("lobby", { status: "here", metadata: { name: "Lobby" } });
    expect(await client.room("lobby")).toBe(room);
    const joins = server.requests.filter(({ event }) => event === "join");
    expect(joins.map(({ payload }) => payload)).toEqual([
      { room: "lobby", status: "here", metadata: { name: "Lobby" } },
    ]);
    expect(room.members.map(({ id }) => id)).toEqual([room.memberId]);
    expect([room.revision, { ...room.state }, room.error]).toEqual([0, {}, null]);
  });

  it("tells of what others do, by its own events and by the client's", async () => {
    const [ann, bob] = [await connected(), await connected()];
    const room = await ann.room("lobby");
    const heard: unknown[] = [];
    for (const event of ["member_joined", "member_left"] as const) {
      ann.on(`room.${event}`, ({ room: id }) => heard.push([event, id]));
    }
    ann.on("room.message", ({ data }) => heard.push(data));
    room.on("message", ({ event, data }) => heard.push([event, data]));
    room.on("state", ({ changes }) => heard.push({ ...changes }));
    room.on("metadata", ({ metadata }) => heard.push({ ...metadata }));
    const other = await bob.room("lobby");
    await other.send("hello", { n: 1 });
    expect(await other.setState({ k: 1 })).toBe(1);
    expect({ ...(await other.setMetadata({ name: "N" })) }).toEqual({ name: "N" });
    await other.leave();
    expect(heard).toEqual([
      ["member_joined", "lobby"],
      { n: 1 },
      ["hello", { n: 1 }],
      { k: 1 },
      { name: "N" },
      ["member_left", "lobby"],
    ]);
    expect([room.revision, room.state["k"], other.state["k"]]).toEqual([1, 1, 1]);
    await expect(other.send("x")).rejects.toThrow("left");
  });

  it("is joined again with its status after a lost connection", async () => {
    const client = await connected();
    const room = await client.room("lobby");
    await room.setStatus({ away: true });
    server.down();
    server.up = true;
    await expect(room.setState({ k: 1 })).rejects.toMatchObject({ code: "unavailable" });
    await vi.advanceTimersByTimeAsync(5_000);
    const joins = server.requests.filter(({ event }) => event === "join");
    expect(joins.at(-1)?.payload).toEqual({ room: "lobby", status: { away: true } });
    await room.setState({ k: 2 });
  });

  it("sends again what was too early, in its order", async () => {
    const client = await connected();
    const room = await client.room("lobby");
    let refusals = 2;
    server.before = (event) => {
      if (event === "send" && refusals-- > 0) {
        throw new StrettoError("rate_limited", "slow down", { retryAfterMs: 400 });
      }
    };
    const [first, second] = [room.send("1"), room.send("2")];
    await vi.advanceTimersByTimeAsync(300);
    expect(server.requests.filter(({ event }) => event === "send").length).toBe(2);
    await vi.advanceTimersByTimeAsync(2_000);
    await Promise.all([first, second]);
    const sent = server.requests.filter(({ event }) => event === "send").slice(-2);
    expect(sent.map(({ payload }) => payload["event"])).toEqual(["1", "2"]);
  });

  it("is over when the server says so, or refuses us", async () => {
    const client = await connected();
    const room = await client.room("lobby");
    const closed = vi.fn();
    room.on("closed", closed);
    const error = { code: "forbidden", message: "no more", retryable: false };
    server.links[0]?.listener.received("/rooms", "closed", { room: "lobby", error });
    expect(closed).toHaveBeenCalledOnce();
    await expect(room.send("x")).rejects.toThrow("no more");
    server.before = () => {
      throw new StrettoError("not_found", "no such room");
    };
    await expect(client.room("lobby")).rejects.toThrow("no such room");
  });
});

describe("messages without a connection", () => {
  it("reject at once, unless they may wait", async () => {
    const client = await connected();
    const room = await client.room("lobby");
    server.down();
    await expect(room.send("x")).rejects.toMatchObject({ code: "unavailable", retryable: true });
  });

  it("wait for it, at most 100 of them", async () => {
    const client = await connected();
    const room = await client.room("lobby", { offline: "queue" });
    server.down();
    const sent = Array.from({ length: 100 }, (_, n) => room.send("n", n));
    const many = expect(room.send("one too many")).rejects.toThrow("100 messages wait");
    await vi.advanceTimersByTimeAsync(1);
    await many;
    server.up = true;
    await vi.advanceTimersByTimeAsync(10_000);
    await Promise.all(sent);
    const data = server.requests.filter(({ event }) => event === "send");
    expect(data.map(({ payload }) => payload["data"])).toEqual(Array.from(sent.keys()));
  });

  it("wait no longer than a minute", async () => {
    const client = await connected();
    const room = await client.room("lobby", { offline: "queue" });
    server.down();
    const late = expect(room.send("x")).rejects.toThrow("too long");
    await vi.advanceTimersByTimeAsync(60_000);
    await late;
  });
});

it("a room and its document are joined together", async () => {
  const client = await connected();
  const { room, document } = await client.joinRoom("d");
  expect([room.id, document.id]).toEqual(["d", "d"]);
  expect(await client.sendOperation("d", { type: "insert", position: 0, data: "Hi" })).toBe(1);
  expect(document.text).toBe("Hi");
  expect(await client.findRooms({ tags: ["x"] })).toEqual([]);
});

// @vitest-environment happy-dom
import { act, createElement, StrictMode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import type { LiveDocument } from "../src/document.js";
import { useDocument, usePresence, useRoom } from "../src/react.js";
import { TestServer } from "./server.js";

let server: TestServer;
let client: RealtimeClient;
let root: Root;
let place: HTMLElement;

beforeEach(async () => {
  vi.useFakeTimers();
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
  server = new TestServer();
  const { connect } = server;
  client = new RealtimeClient({ url: "http://x", auth: { token: "t" }, connect });
  await client.connect();
  place = document.createElement("div");
  root = createRoot(place);
});
afterEach(() => {
  vi.useRealTimers();
});

function events(name: string): number {
  return server.requests.filter(({ event }) => event === name).length;
}

async function settle(ms = 10): Promise<void> {
  await act(() => vi.advanceTimersByTimeAsync(ms));
}

let shown: LiveDocument | null = null;

function Notes({ id }: { id: string }) {
  const { document, text, status, error } = useDocument(client, id);
  shown = document;
  const members = usePresence(document);
  return `${text}|${status}|${members.length}|${error?.message ?? ""}`;
}

function Lobby({ id }: { id: string }) {
  const { members, state, room } = useRoom(client, id, { status: "here" });
  return `${room?.id ?? ""}|${members.length}|${JSON.stringify(state)}`;
}

it("a document is opened once in strict mode, shown, and closed behind the last user", async () => {
  const notes = createElement(Notes, { id: "d" });
  await act(async () => root.render(createElement(StrictMode, null, notes)));
  await settle();
  expect(events("open")).toBe(1);
  await act(async () => shown?.insert(0, "Hi"));
  await settle();
  expect(place.textContent).toBe("Hi|saved|0|");
  const user = { id: "bob", name: "Bob", color: "#000000" };
  const joined = [{ id: "m2", user }];
  await act(async () =>
    server.broadcast("/docs", "presence", { doc: "d", joined, left: [], updated: [] }),
  );
  await act(async () => server.commit([2, "!"], 1));
  expect(place.textContent).toBe("Hi!|saved|1|");
  await act(async () => root.unmount());
  expect(shown?.isClosed).toBe(false);
  await settle(1_000);
  expect(shown?.isClosed).toBe(true);
  expect(events("close")).toBe(1);
});

it("a component that comes back at once finds the document still open", async () => {
  await act(async () => root.render(createElement(Notes, { id: "d" })));
  await settle();
  await act(async () => root.render(null));
  await act(async () => root.render(createElement(Notes, { id: "d" })));
  await settle(1_000);
  expect([events("open"), events("close")]).toEqual([1, 0]);
  expect(place.textContent).toBe("|saved|0|");
});

it("a document is not closed before what was typed is saved", async () => {
  await act(async () => root.render(createElement(Notes, { id: "d" })));
  await settle();
  await act(async () => server.down());
  await act(async () => shown?.insert(0, "last words"));
  await act(async () => root.unmount());
  await settle(2_000);
  expect(shown?.isClosed).toBe(false);
  server.up = true;
  await settle(30_000);
  expect(server.authority.text).toBe("last words");
  expect(shown?.isClosed).toBe(true);
});

it("why a document closed is shown", async () => {
  await act(async () => root.render(createElement(Notes, { id: "d" })));
  await settle();
  const error = { code: "not_found", message: "deleted", retryable: false };
  await act(async () => server.broadcast("/docs", "closed", { doc: "d", error }));
  expect(place.textContent).toBe("|offline|0|deleted");
});

it("a room is joined once in strict mode, shown, and left", async () => {
  const lobby = createElement(Lobby, { id: "lobby" });
  await act(async () => root.render(createElement(StrictMode, null, lobby)));
  await settle();
  expect(events("join")).toBe(1);
  expect(place.textContent).toBe("lobby|1|{}");
  const payload = { room: "lobby", revision: 1, changes: { k: 1 }, by: null };
  await act(async () => server.links[0]?.listener.received("/rooms", "state", payload));
  expect(place.textContent).toBe('lobby|1|{"k":1}');
  server.revision = 1;
  await act(async () => void (await client.room("lobby").then((room) => room.setState({ k: 2 }))));
  expect(place.textContent).toBe('lobby|1|{"k":2}');
  await act(async () => root.unmount());
  await settle(1_000);
  expect(events("leave")).toBe(1);
});

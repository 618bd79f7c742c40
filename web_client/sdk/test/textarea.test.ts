// @vitest-environment happy-dom
import { beforeEach, describe, expect, it } from "vitest";
import { RealtimeClient } from "../src/client.js";
import type { LiveDocument } from "../src/document.js";
import { bindTextarea, replacement } from "../src/textarea.js";
import { Random, randomEdit } from "./random.js";
import { TestServer, until } from "./server.js";

let server: TestServer;
let doc: LiveDocument;
let field: HTMLTextAreaElement;
let unbind: () => void;
let seq: number;

beforeEach(async () => {
  server = new TestServer();
  seq = 0;
  const { connect } = server;
  const client = new RealtimeClient({ url: "http://x", auth: { token: "t" }, connect });
  await client.connect();
  doc = await client.open("d");
  doc.insert(0, "Hello 😀 world");
  await doc.saved();
  field = document.createElement("textarea");
  document.body.append(field);
  unbind = bindTextarea(doc, field);
});

/** Do what a user does: replace the selection. */
function type(text: string, from = field.selectionStart, to = from): void {
  field.value = field.value.slice(0, from) + text + field.value.slice(to);
  field.setSelectionRange(from + text.length, from + text.length);
  field.dispatchEvent(new Event("input"));
}

function other(op: readonly (string | number)[]): void {
  server.commit(op, ++seq);
}

describe("a bound textarea", () => {
  it("shows the document and gives it what is typed", async () => {
    expect(field.value).toBe("Hello 😀 world");
    type("!", 14);
    type("", 6, 9);
    expect(doc.text).toBe("Hello world!");
    await doc.saved();
    expect(server.authority.text).toBe("Hello world!");
  });

  it("keeps caret and selection while others type", () => {
    field.setSelectionRange(9, 14, "backward");
    other(["🎼🎼 "]);
    expect(field.value).toBe("🎼🎼 Hello 😀 world");
    const { selectionStart, selectionEnd, selectionDirection } = field;
    expect([selectionStart, selectionEnd, selectionDirection]).toEqual([14, 19, "backward"]);
    other([16, "!"]);
    expect([field.selectionStart, field.selectionEnd]).toEqual([14, 19]);
    other([9, -6]);
    expect(field.selectionStart).toBe(field.selectionEnd - 1);
  });

  it("leaves an input method alone until it is done", async () => {
    field.dispatchEvent(new Event("compositionstart"));
    type("に", 5);
    other(["<<"]);
    expect(field.value).toBe("Helloに 😀 world");
    expect(doc.text).toBe("<<Hello 😀 world");
    type("ほん", 6);
    field.dispatchEvent(new Event("compositionend"));
    expect(field.value).toBe("<<Helloにほん 😀 world");
    expect(field.selectionStart).toBe(10);
    await doc.saved();
    expect(server.authority.text).toBe(field.value);
  });

  it("is read-only while the document is, and shows what it has", () => {
    server.broadcast("/docs", "role", { doc: "d", role: "viewer" });
    expect(field.readOnly).toBe(true);
    type("no", 0);
    expect(field.value).toBe("Hello 😀 world");
    server.broadcast("/docs", "role", { doc: "d", role: "editor" });
    expect(field.readOnly).toBe(false);
  });

  it("tells where the caret is", async () => {
    field.setSelectionRange(8, 9);
    field.dispatchEvent(new Event("keyup"));
    await until(() => server.requests.some(({ event }) => event === "cursor"));
    const sent = server.requests.find(({ event }) => event === "cursor");
    expect(sent?.payload["ranges"]).toEqual([[7, 8]]);
  });

  it("is let go", () => {
    unbind();
    other(["more "]);
    expect(field.value).toBe("Hello 😀 world");
    type("x", 0);
    expect(doc.text).toBe("more Hello 😀 world");
  });

  it("stays the same as the document over random edits of both sides", async () => {
    const random = new Random(3);
    for (let i = 0; i < 300; i++) {
      if (random.chance(0.4)) other(randomEdit(random, server.authority.text));
      else {
        const points = [...field.value];
        const start = random.below(points.length + 1);
        const end = Math.min(points.length, start + random.below(4));
        const units = (count: number): number => points.slice(0, count).join("").length;
        type(random.chance(0.6) ? random.text() : "", units(start), units(end));
      }
      if (random.chance(0.3)) await doc.saved();
      expect(field.value).toBe(doc.text);
    }
    await doc.saved();
    expect(server.authority.text).toBe(doc.text);
  });
});

describe("line ends that a field does not show", () => {
  it("stay in the document", () => {
    doc.replace(0, doc.text.length, "a\r\nb\rc");
    field.value = "a\nb\nc"; // as browsers read it back
    type("X", 4);
    expect(doc.text).toBe("a\r\nb\rXc");
  });
});

it.each([
  ["aaa", "aaaa", 2, { from: 1, to: 1, insert: "a" }],
  ["aaaa", "aaa", 1, { from: 1, to: 2, insert: "" }],
  ["abc", "axc", 2, { from: 1, to: 2, insert: "x" }],
  ["😀", "😁", 2, { from: 0, to: 2, insert: "😁" }],
  ["😀", "\ud83d", 1, { from: 0, to: 2, insert: "\ufffd" }],
  ["same", "same", 0, null],
])("%j became %j with the caret at %d", (before, value, selectionEnd, expected) => {
  expect(replacement(before, { value, selectionEnd })).toEqual(expected);
});

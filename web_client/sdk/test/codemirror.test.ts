// @vitest-environment happy-dom
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { RealtimeClient } from "../src/client.js";
import { collaboration, mendChange } from "../src/codemirror.js";
import type { LiveDocument } from "../src/document.js";
import { DocumentText } from "../src/units.js";
import { Random, randomEdit } from "./random.js";
import { TestServer } from "./server.js";

let server: TestServer;
let doc: LiveDocument;
let seq: number;

beforeEach(async () => {
  server = new TestServer();
  seq = 0;
  const { connect } = server;
  const client = new RealtimeClient({ url: "http://x", auth: { token: "t" }, connect });
  await client.connect();
  doc = await client.open("d");
  doc.insert(0, "one\ntwo 😀\nthree");
  await doc.saved();
});

async function editor(): Promise<EditorView> {
  const extensions = [collaboration(doc), EditorState.allowMultipleSelections.of(true)];
  const view = new EditorView({
    parent: document.body,
    state: EditorState.create({ doc: doc.text, extensions }),
  });
  await Promise.resolve();
  return view;
}

function textOf(view: EditorView): string {
  return view.state.doc.sliceString(0, undefined, "\n");
}

function other(op: readonly (string | number)[]): void {
  server.commit(op, ++seq);
}

describe("a bound editor", () => {
  it("gives the document what is typed, also in several places at once", async () => {
    const view = await editor();
    view.dispatch({
      changes: [
        { from: 0, insert: "1" },
        { from: 8, to: 10, insert: "🎼" },
        { from: 16, insert: "!\n" },
      ],
    });
    expect(textOf(view)).toBe("1one\ntwo 🎼\nthree!\n");
    expect(doc.text).toBe(textOf(view));
    await doc.saved();
    expect(server.authority.text).toBe(textOf(view));
  });

  it("shows what others do, and other edits of the same document", async () => {
    const [view, twin] = [await editor(), await editor()];
    other([4, "🎼"]);
    doc.insert(0, "> ");
    view.dispatch({ changes: { from: 0, insert: "#" } });
    expect(textOf(view)).toBe("#> one\n🎼two 😀\nthree");
    expect(textOf(twin)).toBe(textOf(view));
    twin.destroy();
    other(["x"]);
    expect(textOf(view)).toBe(doc.text);
  });

  it("shows where the others are, and follows the text", async () => {
    const view = await editor();
    const user = { id: "bob", name: "<b>Bob</b>", color: "red; background: url(x)" };
    const member = { id: "m9", user, ranges: [[0, 3]], version: doc.version };
    server.broadcast("/docs", "presence", { doc: "d", joined: [member], left: [], updated: [] });
    const caret = view.dom.querySelector<HTMLElement>(".stretto-caret");
    expect(caret?.textContent).toContain("<b>Bob</b>");
    expect(caret?.style.getPropertyValue("--stretto-color")).toBe("#666666");
    expect(view.dom.querySelector(".stretto-selection")?.textContent).toBe("one");
    server.broadcast("/docs", "presence", { doc: "d", joined: [], left: ["m9"], updated: [] });
    expect(view.dom.querySelector(".stretto-caret")).toBeNull();
  });

  it("is read-only while the document is, and takes back what it would not have", async () => {
    const view = await editor();
    expect(view.state.readOnly).toBe(false);
    server.broadcast("/docs", "role", { doc: "d", role: "viewer" });
    expect(view.state.readOnly).toBe(true);
    view.dispatch({ changes: { from: 0, insert: "no" } });
    await Promise.resolve();
    expect(textOf(view)).toBe(doc.text);
    const error = { code: "not_found", message: "deleted" };
    server.broadcast("/docs", "role", { doc: "d", role: "editor" });
    server.broadcast("/docs", "closed", { doc: "d", error });
    expect(view.state.readOnly).toBe(true);
    view.destroy();
  });

  it("never makes the whole text for a keystroke", async () => {
    const view = await editor();
    const whole = vi.spyOn(DocumentText.prototype, "toString");
    for (const insert of ["x", "😀", "y"]) view.dispatch({ changes: { from: 3, insert } });
    other(["z"]);
    expect(whole).not.toHaveBeenCalled();
    whole.mockRestore();
  });

  it("stays the same as the document over random edits of both sides", async () => {
    const view = await editor();
    const random = new Random(9);
    for (let i = 0; i < 300; i++) {
      if (random.chance(0.4)) other(randomEdit(random, server.authority.text));
      else {
        const length = view.state.doc.length;
        const from = random.below(length + 1);
        const to = Math.min(length, from + random.below(4));
        view.dispatch({ changes: { from, to, insert: random.chance(0.6) ? random.text() : "" } });
      }
      if (random.chance(0.3)) await doc.saved();
      expect(textOf(view)).toBe(doc.text);
    }
    await doc.saved();
    expect(server.authority.text).toBe(doc.text);
  });
});

it("mends what would split a character or bring foreign line ends", () => {
  const text = "a😀b";
  const unit = (at: number): string => (at < 0 ? "" : text.slice(at, at + 1));
  const mended = (from: number, to: number, insert: string) =>
    mendChange({ from, to, insert }, unit);
  expect(mended(2, 2, "x")).toEqual({ from: 1, to: 1, insert: "x" });
  expect(mended(2, 4, "")).toEqual({ from: 1, to: 4, insert: "" });
  expect(mended(0, 2, "\r\n\ud83d")).toEqual({ from: 0, to: 3, insert: "\n\ufffd" });
  const fine = { from: 1, to: 3, insert: "😀" };
  expect(mendChange(fine, unit)).toBe(fine);
});

import { Annotation, EditorState } from "@codemirror/state";
import { expect, it } from "vitest";
import { wellFormedChanges } from "../src/edges";

const trusted = Annotation.define<true>();

function edited(doc: string, from: number, to: number, insert: string): string {
  const state = EditorState.create({
    doc,
    extensions: [EditorState.lineSeparator.of("\n"), wellFormedChanges(trusted)],
  });
  return state.update({ changes: { from, to, insert } }).state.doc.toString();
}

it.each([
  ["a plain edit stays", "abc", 1, 2, "X", "aXc"],
  ["half an insertion is replaced", "ab", 1, 1, "\ud83d", "a\ufffdb"],
  ["deleting the second half deletes all", "a😀b", 2, 3, "", "ab"],
  ["deleting the first half deletes all", "a😀b", 1, 2, "", "ab"],
  ["a place inside a character is before it", "a😀b", 2, 2, "X", "aX😀b"],
  ["carriage returns become line feeds", "", 0, 0, "a\r\nb\rc", "a\nb\nc"],
])("%s", (_name, doc, from, to, insert, after) => {
  expect(edited(doc, from, to, insert)).toBe(after);
});

it("lets trusted changes pass as they are", () => {
  const state = EditorState.create({
    extensions: [EditorState.lineSeparator.of("\n"), wellFormedChanges(trusted)],
  });
  const spec = { changes: { from: 0, insert: "a\rb" }, annotations: trusted.of(true) };
  expect(state.update(spec).state.doc.toString()).toBe("a\rb");
});

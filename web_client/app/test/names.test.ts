import { expect, it } from "vitest";
import { documentName, guestName, initials, isDocumentName } from "../src/names";

it("makes readable ids and names", () => {
  for (const chance of [0, 0.5, 0.999]) {
    const id = documentName(() => chance);
    expect(id).toMatch(/^[a-z]+-[a-z]+-[a-z0-9]{6}$/);
    expect(isDocumentName(id)).toBe(true);
    expect(guestName(() => chance)).toMatch(/^[A-Z][a-z]+ [A-Z][a-z]+$/);
  }
});

it.each(["", ".", "..", "a//b", "a/../b", "/a", "a b", "é", "x".repeat(201)])(
  "%j names no document",
  (id) => expect(isDocumentName(id)).toBe(false),
);

it.each([
  ["Ada", "A"],
  ["ada lovelace", "AL"],
  ["😀 smile", "😀S"],
  ["", "?"],
])("the initials of %j are %s", (name, letters) => {
  expect(initials(name)).toBe(letters);
});

import { describe, expect, it } from "vitest";
import { difference } from "../src/difference.js";
import { apply } from "../src/transform.js";
import { Random, randomEdit } from "./random.js";

describe("difference", () => {
  it.each([
    ["", "", []],
    ["abc", "abc", []],
    ["abc", "abxc", [2, "x"]],
    ["aaa", "aa", [2, -1]],
    ["😀", "😁", [-1, "😁"]],
    ["x😀", "x😀😀", [2, "😀"]],
    ["\u{1F600}", "\u{1FA00}", [-1, "\u{1FA00}"]],
  ])("%j to %j is %j", (before, after, op) => {
    expect(difference(before, after)).toEqual(op);
  });

  it("keeps what is common between two places", () => {
    expect(difference("one middle two", "1 middle 2")).toEqual([-3, "1", 8, -3, "2"]);
  });

  it("compares long texts by lines, and gives up on endless ones", () => {
    const lines = Array.from({ length: 900 }, (_, i) => `line ${i}`);
    const before = lines.join("\n");
    const after = ["first", ...lines.slice(1, -1), "last"].join("\n");
    const op = difference(before, after);
    expect(apply(before, op)).toBe(after);
    expect(op.length).toBe(5);
    const [x, y] = ["x\n".repeat(9_000), "y!\n".repeat(9_000)];
    expect(difference(x, y)).toEqual([-17_999, y.slice(0, -1)]);
  });

  it("always leads there and never splits a character", () => {
    const random = new Random(3);
    let before = "";
    for (let i = 0; i < 2000; i++) {
      const after = [...apply(before, randomEdit(random, before))].slice(0, 100).join("");
      expect(apply(before, difference(before, after))).toBe(after);
      before = after;
    }
  });
});

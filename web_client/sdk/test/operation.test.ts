import { describe, expect, it } from "vitest";
import {
  check,
  inputLength,
  insertedLength,
  insertedText,
  normalize,
  pointLength,
} from "../src/operation.js";
import { compose } from "../src/transform.js";
import { lines } from "./vectors.js";

describe("check", () => {
  it.each([
    ["a string", "abc"],
    ["null", null],
    ["an object", { d: 1 }],
    ["a boolean", [true]],
    ["null inside", [null]],
    ["a list inside", [[1]]],
    ["a fraction", [1.5]],
    ["infinity", [Number.POSITIVE_INFINITY]],
    ["too large a number", [2 ** 53]],
    ["a lone high surrogate", ["\ud83d"]],
    ["a lone low surrogate", ["a\ude00b"]],
    ["the delete object of other libraries", [{ d: 1 }]],
  ])("refuses %s", (_name, op) => {
    expect(() => check(op)).toThrow(expect.objectContaining({ code: "invalid_operation" }));
  });

  it.each([
    ["nothing", []],
    ["zeros and empty strings", [0, "", -0]],
    ["U+0000", ["\u0000"]],
    ["an astral character", ["😀"]],
    ["a trailing keep", ["a", 3]],
  ])("accepts %s", (_name, op) => {
    expect(() => check(op)).not.toThrow();
  });

  it("refuses what the oracle refuses by type", () => {
    const wrong = ["Op must be an array of components", "Delete must be number or string"];
    for (const line of lines()) {
      if (!wrong.includes(String(line["err"]))) continue;
      expect(() => check(line["checkOp"])).toThrow();
    }
  });
});

describe("normalize", () => {
  it.each([
    [[0, "", 0], []],
    [["a", "b"], ["ab"]],
    [
      [1, 2, "a"],
      [3, "a"],
    ],
    [[-1, -2], [-3]],
    [["a", 3], ["a"]],
    [
      ["a", -1, "b"],
      ["a", -1, "b"],
    ],
    [
      [-1, 0, -1, "", "x", 4, 0, 5],
      [-2, "x"],
    ],
  ])("%j becomes %j", (given, canonical) => {
    expect(normalize(given)).toEqual(canonical);
  });
});

it("counts code points", () => {
  expect(pointLength("a😀b")).toBe(3);
  expect(inputLength([2, "😀😀", -3, 4])).toBe(9);
  expect(insertedLength([2, "😀a", -3, "b"])).toBe(3);
  expect(insertedText([2, "😀a", -3, "b"])).toBe("😀ab");
});

it("normalizing twice is normalizing once, also where numbers end", () => {
  const most = Number.MAX_SAFE_INTEGER;
  expect(normalize([most, "a"])).toEqual([most, "a"]);
  for (const op of [
    [most, 1, "a"],
    [most, "a", 1],
    [-most, "x", -1],
  ]) {
    expect(() => normalize(op)).toThrow("longer than any document");
  }
});

it("thousands of small pieces are joined in linear time", () => {
  const pieces = (count: number): string[] => Array.from({ length: count }, () => "x😀");
  const time = (count: number): number => {
    const given = pieces(count);
    const start = performance.now();
    const [text] = compose(normalize(given), [1, -1, "y"]);
    expect(pointLength(text as string)).toBe(2 * count);
    return performance.now() - start;
  };
  time(1_000);
  expect(time(200_000)).toBeLessThan(1_000);
});

import { describe, expect, it } from "vitest";
import { mapPosition } from "../src/position.js";
import { apply } from "../src/transform.js";
import { type Change, DocumentText, mapUnit } from "../src/units.js";
import { Random, randomEdit } from "./random.js";

const SAMPLE = "a😀b🎼🎼c"; // units 9, code points 6

describe("positions", () => {
  it("convert both ways", () => {
    const text = DocumentText.of(SAMPLE);
    expect(text.units).toBe(9);
    expect(text.points).toBe(6);
    const starts = [0, 1, 3, 4, 6, 8, 9];
    starts.forEach((unit, point) => {
      expect(text.toUnits(point)).toBe(unit);
      expect(text.toPoints(unit)).toBe(point);
    });
  });

  it.each([2, 5, 7])("unit %d splits a character", (unit) => {
    expect(() => DocumentText.of(SAMPLE).toPoints(unit)).toThrow("splits a character");
  });

  it.each([-1, 10, 0.5])("unit %d does not exist", (unit) => {
    expect(() => DocumentText.of(SAMPLE).toPoints(unit)).toThrow("no position");
  });

  it("past the end are clamped", () => {
    expect(DocumentText.of(SAMPLE).toUnits(7)).toBe(9);
  });
});

describe("changes", () => {
  it("are one per place", () => {
    expect(DocumentText.of(SAMPLE).changes([1, "x", -1, "y", 2, -1])).toEqual([
      { from: 1, to: 3, insert: "xy" },
      { from: 6, to: 8, insert: "" },
    ]);
  });

  it("become an operation in code points", () => {
    const changes = [
      { from: 3, to: 4, insert: "💃" },
      { from: 9, to: 9, insert: "!" },
    ];
    expect(DocumentText.of(SAMPLE).operation(changes)).toEqual([2, -1, "💃", 3, "!"]);
  });

  it.each<[string, Change[]]>([
    ["half a character", [{ from: 2, to: 3, insert: "" }]],
    ["a lone surrogate", [{ from: 0, to: 0, insert: "\ud83d" }]],
    ["a place past the end", [{ from: 9, to: 10, insert: "" }]],
    [
      "an overlap",
      [
        { from: 0, to: 3, insert: "" },
        { from: 1, to: 3, insert: "" },
      ],
    ],
  ])("refuse %s", (_name, changes) => {
    expect(() => DocumentText.of(SAMPLE).operation(changes)).toThrow(
      expect.objectContaining({ code: "invalid_operation" }),
    );
  });

  it("keep the index true over random edits", () => {
    const random = new Random(42);
    let text = DocumentText.EMPTY;
    let plain = "";
    for (let i = 0; i < 3000; i++) {
      const op = randomEdit(random, plain);
      const changes = text.changes(op);
      const back = text.operation(changes);
      plain = apply(plain, op);
      expect(apply(text.toString(), back)).toBe(plain);
      text = text.replaced(changes);
      expect(text.toString()).toBe(plain);
      expect([text.units, text.points]).toEqual([plain.length, [...plain].length]);
      if (plain.length > 200) {
        plain = "";
        text = DocumentText.EMPTY;
      }
    }
  });
});

it("positions are carried over changes as over operations", () => {
  const random = new Random(11);
  const text = DocumentText.of("abcdefghijkl");
  for (let i = 0; i < 2000; i++) {
    // Where an insertion comes before a deletion, changes cannot tell; operations can.
    const op = text.operation(text.changes(random.operation(12)));
    const unit = random.below(13);
    const after = text.apply(op);
    for (const bias of [-1, 1] as const) {
      const mapped = after.toUnits(mapPosition(unit, op, bias));
      expect(mapUnit(unit, text.changes(op), bias)).toBe(mapped);
    }
  }
});

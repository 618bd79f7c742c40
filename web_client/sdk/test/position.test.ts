import { expect, it } from "vitest";
import type { Operation } from "../src/operation.js";
import { type Bias, mapPosition } from "../src/position.js";
import { transform } from "../src/transform.js";
import { Random } from "./random.js";

it.each<[number, Operation, Bias, number]>([
  [3, [3, "ab"], -1, 3],
  [3, [3, "ab"], 1, 5],
  [3, [1, "😀"], -1, 4],
  [3, [1, -4], -1, 1],
  [3, [1, "xy", -4], -1, 3],
  [3, [1, -4, "xy"], 1, 1],
  [5, [1, -4, "xy"], 1, 3],
  [0, ["x"], -1, 0],
  [0, ["x"], 1, 1],
])("%d over %j with bias %d is %d", (position, op, bias, expected) => {
  expect(mapPosition(position, op, bias)).toBe(expected);
});

it("goes where text inserted at the position would", () => {
  const random = new Random(7);
  for (let i = 0; i < 2000; i++) {
    const position = random.below(12);
    const op = random.operation(12);
    const marker: Operation = position === 0 ? ["!"] : [position, "!"];
    for (const [bias, side] of [
      [-1, "left"],
      [1, "right"],
    ] as const) {
      const moved = transform(marker, op, side);
      const at = typeof moved[0] === "number" ? moved[0] : 0;
      expect(mapPosition(position, op, bias)).toBe(at);
    }
  }
});

it.each([-1, 1.5, Number.NaN])("refuses %d", (position) => {
  expect(() => mapPosition(position, [], 1)).toThrow("whole number");
});

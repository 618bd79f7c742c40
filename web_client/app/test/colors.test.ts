import { expect, it } from "vitest";
import { inkOn, safeColor } from "../src/colors";

it("lets only #rrggbb through", () => {
  expect(safeColor("#A1b2c3")).toBe("#A1b2c3");
  expect(safeColor("red; background: url(//x)")).toBe("#6b7280");
});

it.each([
  ["#000000", "#ffffff"],
  ["#ffffff", "#111111"],
  ["#ffd54a", "#111111"],
  ["#1a3c8f", "#ffffff"],
])("on %s writes in %s", (background, ink) => {
  expect(inkOn(background)).toBe(ink);
});

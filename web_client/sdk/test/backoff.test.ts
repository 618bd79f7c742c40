import { expect, it } from "vitest";
import {
  backoff,
  FIRST_MAX_MS,
  FIRST_MIN_MS,
  LONGEST_MS,
  REPEAT_FIRST_MS,
  REPEAT_LONGEST_MS,
  repeatDelay,
} from "../src/backoff.js";

it("spreads the first retry over its whole range", () => {
  expect(backoff(0, 0)).toBe(FIRST_MIN_MS);
  expect(backoff(0, 0.5)).toBe((FIRST_MIN_MS + FIRST_MAX_MS) / 2);
  expect(backoff(0, 1)).toBe(FIRST_MAX_MS);
});

it("doubles its ceiling up to the longest wait", () => {
  const ceilings = [0, 1, 2, 3, 4, 50, 5000].map((attempt) => backoff(attempt, 1));
  expect(ceilings).toEqual([3000, 6000, 12000, 24000, LONGEST_MS, LONGEST_MS, LONGEST_MS]);
});

it("never waits less than the least", () => {
  for (const attempt of [0, 1, 10]) expect(backoff(attempt, 0)).toBe(FIRST_MIN_MS);
});

it("repeats requests on a standing connection soon, and not before it was asked to", () => {
  expect(repeatDelay(0, 0, 700)).toBe(700);
  expect(repeatDelay(0, 1, 700)).toBe(700 + REPEAT_FIRST_MS);
  expect(repeatDelay(99, 1)).toBe(REPEAT_LONGEST_MS);
});

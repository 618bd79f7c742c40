import { expect, it } from "vitest";
import { ago, type Listed, matching, parse, withOpened, without } from "../src/library";

const listed = (id: string, title = id): Listed => ({ id, title, openedAt: 1 });
const LIST = [listed("a", "Plan für 2027"), listed("b", "Minutes of the plan"), listed("c")];

it("puts what was opened last first, once", () => {
  expect(withOpened(LIST, listed("b", "New")).map(({ title }) => title)).toEqual([
    "New",
    "Plan für 2027",
    "c",
  ]);
  expect(without(LIST, "b").map(({ id }) => id)).toEqual(["a", "c"]);
});

it("does not grow forever", () => {
  const many = Array.from({ length: 600 }, (_, i) => listed(String(i)));
  expect(many.reduceRight(withOpened, [] as readonly Listed[])).toHaveLength(500);
});

it.each([
  ["", "abc"],
  ["PLAN", "ab"],
  ["plan für", "a"],
  ["nothing", ""],
])("a search for %j finds %j", (query, found) => {
  expect(
    matching(LIST, query)
      .map(({ id }) => id)
      .join(""),
  ).toBe(found);
});

it.each([null, "{}", "nonsense", '[{"id": 1}, null, 3]'])("reads %j as an empty list", (stored) => {
  expect(parse(stored)).toEqual([]);
});

it("reads what it wrote", () => expect(parse(JSON.stringify(LIST))).toEqual(LIST));

it.each([
  [10, "just now"],
  [90, "1 min ago"],
  [3_600, "1 hour ago"],
  [7_300, "2 hours ago"],
  [90_000, "yesterday"],
  [300_000, "3 days ago"],
])("%i seconds are %j", (seconds, text) => expect(ago(0, seconds * 1_000)).toBe(text));

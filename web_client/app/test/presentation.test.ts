import { describe, expect, it } from "vitest";
import { indicator, offlineBanner, type Situation, titleOf } from "../src/presentation";

const CALM: Situation = {
  opened: true,
  connection: "connected",
  status: "saved",
  unsent: 0,
  role: "editor",
  closed: false,
};

describe("the indicator", () => {
  it.each<[Partial<Situation>, string]>([
    [{}, "All changes saved"],
    [{ status: "saving", unsent: 1 }, "Saving…"],
    [{ status: "offline" }, "Offline"],
    [{ status: "offline", unsent: 1 }, "Offline — 1 unsent edit"],
    [{ status: "offline", unsent: 7 }, "Offline — 7 unsent edits"],
    [{ opened: false }, "Connecting…"],
    [{ role: "viewer" }, "Read only"],
    [{ connection: "refused" }, "Not admitted"],
    [{ closed: true }, "Closed"],
  ])("for %j says %s", (change, text) => {
    expect(indicator({ ...CALM, ...change }).text).toBe(text);
  });
});

it.each([
  ["", "Untitled"],
  ["\n \n", "Untitled"],
  ["One\ntwo", "One"],
  ["\n\n  ## Notes  \nmore", "Notes"],
  ["x".repeat(200), "x".repeat(80)],
])("the title of %j is %s", (text, title) => {
  expect(titleOf(text)).toBe(title);
});

it.each([
  [0, "edits are delivered"],
  [1, "1 edit waits"],
  [2, "2 edits wait"],
])("offline with %i edits the banner says %j", (unsent, text) => {
  expect(offlineBanner(unsent)).toContain(text);
});

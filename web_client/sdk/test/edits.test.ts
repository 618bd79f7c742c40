import { describe, expect, it } from "vitest";
import { buildOperation, type Edit } from "../src/edits.js";
import type { Replica } from "../src/replica.js";
import { apply } from "../src/transform.js";
import { Authority } from "./authority.js";
import { Network } from "./network.js";

function replicaOf(text: string): Replica {
  const authority = new Authority();
  const network = new Network(authority);
  const site = network.site("a");
  network.settle();
  site.type(text);
  network.settle();
  return site.replica;
}

function after(text: string, edit: Edit): string {
  return apply(text, buildOperation(replicaOf(text), edit));
}

describe("an edit", () => {
  it.each<[Edit, string]>([
    [{ type: "insert", position: 2, data: "X" }, "a😀Xbcd"],
    [{ type: "delete", position: 1, length: 2 }, "acd"],
    [{ type: "replace", position: 1, length: 1, data: "🎼" }, "a🎼bcd"],
    [{ type: "move", position: 0, length: 2, to: 2 }, "bca😀d"],
    [{ type: "move", position: 3, length: 2, to: 1 }, "acd😀b"],
    [{ type: "move", position: 1, length: 1, to: 1 }, "a😀bcd"],
    [{ type: "insert", position: 0, data: "X", version: 99 }, "Xa😀bcd"],
  ])("%j counts code points", (edit, expected) => {
    expect(after("a😀bcd", edit)).toBe(expected);
  });

  it.each<[unknown, string]>([
    [{ type: "insert", position: 0 }, "data: missing"],
    [{ type: "insert", position: 0, data: 1 }, "data: not a string"],
    [{ type: "insert", position: 0, data: "", length: 1 }, "length: does not go with insert"],
    [{ type: "insert", position: -1, data: "" }, "position: not a whole number"],
    [{ type: "delete", position: 0, length: 1.5 }, "length: not a whole number"],
    [{ type: "toString", position: 0 }, "type: must be"],
    [null, "type: must be"],
    [{ type: "move", position: 3, length: 9, to: 0 }, "outside the text"],
  ])("%j is refused", (edit, message) => {
    expect(() => after("a😀bcd", edit as Edit)).toThrow(message);
  });
});

it("positions of an older version are carried over what came since", () => {
  const authority = new Authority();
  const network = new Network(authority);
  const [a, b] = [network.site("a"), network.site("b")];
  network.settle();
  a.type("world");
  network.settle();
  b.type("Hello ");
  network.settle();
  const edit = { type: "insert", position: 0, data: "big ", version: 1 } as const;
  a.edit(buildOperation(a.replica, edit));
  expect(a.text).toBe("big Hello world"); // it commits later, so it comes first
  a.edit(buildOperation(a.replica, { type: "delete", position: 1, length: 4, version: 1 }));
  expect(a.text).toBe("big Hello w");
});

it("a version that is no longer held is gone", () => {
  const authority = new Authority();
  const network = new Network(authority);
  const first = network.site("a");
  network.settle();
  first.type("x");
  network.settle();
  const late = network.site("b");
  network.settle();
  const edit = { type: "insert", position: 0, data: "y", version: 0 } as const;
  expect(() => buildOperation(late.replica, edit)).toThrow("no longer holds");
});

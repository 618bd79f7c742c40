import { expect, it } from "vitest";
import type { Operation } from "../src/operation.js";
import type { Entry, Member } from "../src/protocol.js";
import { Roster } from "../src/roster.js";

function member(id: string, extra: Partial<Member> = {}): Member {
  return { id, user: { id: `user-${id}`, name: id, color: "#112233" }, ...extra };
}

function entry(op: Operation, user = "somebody"): Entry {
  return { client: "c".repeat(16), seq: 1, op, user, at_ms: 0 };
}

function ranges(roster: Roster, pending: readonly Operation[] = []): unknown[] {
  return roster.cursors("self", pending).map((found) => found.ranges);
}

it("takes the snapshot, then diffs", () => {
  const roster = new Roster();
  roster.opened([member("self"), member("a")], 3);
  roster.presence({ joined: [member("b")], left: ["a"], updated: [] });
  expect(roster.list().map(({ id }) => id)).toEqual(["self", "b"]);
  roster.opened([member("self")], 4);
  expect(roster.list().length).toBe(1);
});

it("carries ranges over entries: behind one's own insertion, before another's", () => {
  const roster = new Roster();
  roster.opened([member("a", { ranges: [[2, 2]], version: 1 })], 1);
  roster.applied(2, entry([2, "xx"], "user-a"));
  expect(ranges(roster)).toEqual([[[4, 4]]]);
  roster.applied(3, entry([4, "yy"]));
  expect(ranges(roster)).toEqual([[[4, 4]]]);
});

it("carries ranges of an older version, and keeps those of a newer one until it is here", () => {
  const roster = new Roster();
  roster.opened([], 1);
  roster.applied(2, entry(["ab"]));
  const late = member("late", { ranges: [[1, 1]], version: 1 });
  const early = member("early", { ranges: [[5, 5]], version: 3 });
  roster.presence({ joined: [], left: [], updated: [late, early] });
  expect(ranges(roster)).toEqual([[[3, 3]]]);
  roster.applied(3, entry(["c"]));
  expect(ranges(roster)).toEqual([[[4, 4]], [[5, 5]]]);
});

it("shows ranges in the text with pending edits, and nobody's own", () => {
  const roster = new Roster();
  const all = ["self", "a"].map((id) => member(id, { ranges: [[3, 1]], version: 0 }));
  roster.opened([...all, member("nowhere", { ranges: null })], 0);
  expect(ranges(roster, [["xy"], [3, "z"]])).toEqual([[[6, 3]]]);
});

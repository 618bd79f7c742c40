import { describe, expect, it } from "vitest";
import type { Values } from "../src/payloads.js";
import { isEqual, RoomReplica, stateAfter, stateDifference } from "../src/room.js";

const USER = { id: "u", name: "U", color: "#112233" };

function member(id: string, status?: unknown): Values {
  return status === undefined ? { id, user: USER } : { id, user: USER, status };
}

function snapshot(changes: Values = {}): Values {
  const members = [member("me"), member("a")];
  const answer = {
    room: "r",
    member_id: "me",
    members,
    state: { k: 1 },
    revision: 4,
    metadata: {},
  };
  return { ...answer, ...changes };
}

function joined(): RoomReplica {
  const replica = new RoomReplica("r");
  replica.joining();
  expect(replica.joined(snapshot())).toEqual([]);
  return replica;
}

function state(revision: number, changes: Values): Values {
  return { room: "r", revision, changes, by: { id: "a", user: USER } };
}

function kinds(changes: readonly { kind: string }[]): string[] {
  return changes.map(({ kind }) => kind);
}

describe("a snapshot", () => {
  it("is taken as it is", () => {
    const replica = joined();
    expect([...replica.members.keys()]).toEqual(["me", "a"]);
    expect([replica.revision, replica.memberId]).toEqual([4, "me"]);
    expect({ ...replica.state }).toEqual({ k: 1 });
    expect(replica.mustJoin).toBe(false);
  });

  it("after another tells what changed meanwhile, but for ourselves", () => {
    const replica = joined();
    replica.joining();
    const members = [member("me2"), member("b"), member("a", "away")];
    const next = {
      member_id: "me2",
      members,
      state: { j: 2 },
      revision: 9,
      metadata: { name: "N" },
    };
    const changes = replica.joined(snapshot(next));
    expect(kinds(changes)).toEqual(["member_joined", "member_updated", "state", "metadata"]);
    const change = changes.find(({ kind }) => kind === "state");
    expect(change).toMatchObject({ change: { changes: { k: null, j: 2 }, by: null } });
  });

  it("takes what arrived before it, once", () => {
    const replica = new RoomReplica("r");
    replica.joining();
    expect(replica.receive("state", state(4, { k: 1 }))).toEqual([]);
    expect(replica.receive("state", state(5, { k: 2 }))).toEqual([]);
    expect(kinds(replica.joined(snapshot()))).toEqual(["state"]);
    expect([replica.revision, replica.state["k"]]).toEqual([5, 2]);
  });
});

describe("events", () => {
  it("of members tell who came, changed and left", () => {
    const replica = joined();
    const diff = { joined: [member("b")], left: ["a"], updated: [member("me", "x")] };
    expect(kinds(replica.receive("presence", diff))).toEqual(["member_left", "member_joined"]);
    expect(replica.members.get("me")?.status).toBe("x");
    const again = { joined: [], left: [], updated: [member("b", { deep: [1] })] };
    expect(kinds(replica.receive("presence", again))).toEqual(["member_updated"]);
    expect(replica.receive("presence", again)).toEqual([]);
  });

  it("of the state are applied in their order; a gap asks for another join", () => {
    const replica = joined();
    expect(replica.receive("state", state(6, { k: "six" }))).toEqual([]);
    expect(replica.mustJoin).toBe(true);
    expect(kinds(replica.receive("state", state(5, { k: "five" })))).toEqual(["state", "state"]);
    expect([replica.revision, replica.state["k"], replica.mustJoin]).toEqual([6, "six", false]);
  });

  it("with a revision skipped by an own change wait for its answer", () => {
    const replica = joined();
    replica.writing();
    replica.receive("state", state(6, { k: "theirs" }));
    expect(replica.mustJoin).toBe(false);
    expect(kinds(replica.written(5, { k: "mine" }))).toEqual(["state"]);
    expect([replica.revision, replica.state["k"], replica.mustJoin]).toEqual([6, "theirs", false]);
  });

  it("of metadata beside an own change are doubtful", () => {
    const replica = joined();
    replica.writing(true);
    expect(kinds(replica.receive("metadata", { metadata: { name: "theirs" } }))).toEqual([
      "metadata",
    ]);
    replica.described({ name: "mine" });
    expect(replica.mustJoin).toBe(true);
  });

  it("unknown ones, and those that cannot be read, change nothing", () => {
    const replica = joined();
    expect(replica.receive("whatever", {})).toEqual([]);
    expect(() => replica.receive("state", { room: "r" })).toThrow("cannot read");
    expect([replica.revision, replica.mustJoin]).toEqual([4, false]);
  });
});

it("an own change of unknown outcome asks for another join", () => {
  const replica = joined();
  replica.writing();
  replica.notWritten(false, true);
  expect(replica.mustJoin).toBe(true);
  replica.joining();
  replica.joined(snapshot());
  expect(replica.mustJoin).toBe(false);
});

it("states differ by what leads from one to the other", () => {
  const [a, b] = [
    { same: [1, { x: 1 }], gone: 0, other: 1 },
    { same: [1, { x: 1 }], other: 2, fresh: {} },
  ];
  expect({ ...stateAfter(a, stateDifference(a, b)) }).toEqual(b);
  expect(Object.keys(stateDifference(a, b))).toEqual(["gone", "other", "fresh"]);
  expect(isEqual([1], { 0: 1 })).toBe(false);
  expect(isEqual({ a: undefined }, { b: undefined })).toBe(false);
  expect(isEqual(new Uint8Array(1), new Uint8Array(1))).toBe(false);
});

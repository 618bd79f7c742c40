import type { Member } from "stretto-client";
import { expect, it } from "vitest";
import { Activity, IDLE_MS } from "../src/activity";
import { peopleOf } from "../src/people";

const member = (id: string, user: string, at: number): Member => ({
  id,
  user: { id: user, name: user, color: "#000000" },
  ranges: [[at, at]],
});

it("is idle who neither moves nor writes", () => {
  const activity = new Activity();
  activity.heard([member("1", "ada", 0), member("2", "ben", 0)], 0);
  expect(activity.isIdle("1", IDLE_MS - 1)).toBe(false);
  activity.heard([member("1", "ada", 0), member("2", "ben", 5)], 30_000);
  expect(activity.isIdle("1", IDLE_MS)).toBe(true);
  expect(activity.isIdle("2", IDLE_MS)).toBe(false);
  activity.wrote("ada", [member("1", "ada", 0)], IDLE_MS);
  expect(activity.isIdle("1", IDLE_MS)).toBe(false);
});

it("does not take being moved by others for moving", () => {
  const activity = new Activity();
  activity.heard([member("1", "ada", 0)], 0);
  activity.carried([member("1", "ada", 9)]);
  activity.heard([member("1", "ada", 9)], 50_000);
  expect(activity.isIdle("1", IDLE_MS)).toBe(true);
});

it("a person is idle only in all tabs, and never oneself", () => {
  const members = [member("1", "ada", 0), member("2", "ben", 0), member("3", "ben", 0)];
  const activity = new Activity();
  activity.heard(members, 0);
  const idle = (): string[] =>
    peopleOf(members, "1", activity, IDLE_MS)
      .filter((person) => person.idle)
      .map(({ user }) => user.id);
  expect(idle()).toEqual(["ben"]);
  activity.heard([...members.slice(0, 2), member("3", "ben", 1)], 10);
  expect(idle()).toEqual([]);
});

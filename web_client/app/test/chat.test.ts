import { expect, it } from "vitest";
import { presenceOf, roomOf, typingText } from "../src/chat";

it("a document's room is named after it, if that fits", () => {
  expect(roomOf("quiet-otter")).toBe("chat:quiet-otter");
  expect(roomOf("x".repeat(196))).toBeNull();
});

it.each([
  ["typing", "typing"],
  ["away", "away"],
  [undefined, "here"],
  [{ typing: true }, "here"],
])("the status %j is %s", (status, presence) => {
  const user = { id: "u", name: "U", color: "#000000" };
  expect(presenceOf({ id: "1", user, status })).toBe(presence);
});

it.each([
  [[], ""],
  [["Ada"], "Ada is typing…"],
  [["Ada", "Ben"], "Ada and Ben are typing…"],
  [["Ada", "Ben", "Cy"], "Several people are typing…"],
])("%j are typing: %j", (names, text) => expect(typingText(names)).toBe(text));

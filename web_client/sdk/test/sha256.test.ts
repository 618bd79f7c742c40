import { createHash } from "node:crypto";
import { expect, it } from "vitest";
import { hex, nextHash } from "../src/history.js";
import { NO_HASH } from "../src/protocol.js";
import { sha256 } from "../src/sha256.js";

it("agrees with the platform's for every padding", () => {
  for (let length = 0; length < 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 255);
    expect(hex(sha256(bytes))).toBe(createHash("sha256").update(bytes).digest("hex"));
  }
});

it("chains entries as the contract says", () => {
  const entry = { client: "c".repeat(16), seq: 1, op: ['é😀"\n', 2, -3], user: "u", at_ms: 0 };
  const json = JSON.stringify([entry.client, 1, entry.op]);
  const expected = createHash("sha256").update(Buffer.alloc(8)).update(json).digest("hex");
  expect(nextHash(NO_HASH, entry)).toBe(expected.slice(0, 16));
});

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { asStrettoError, ERROR_CODES, errorFromPayload, StrettoError } from "../src/errors.js";

it("has the codes of the core, no more and no less", () => {
  const file = new URL("../../../core/stretto_core/errors.py", import.meta.url);
  const python = readFileSync(file, "utf8").matchAll(/^ {4}code = "(\w+)"/gm);
  expect([...python].map((match) => match[1]).sort()).toEqual([...ERROR_CODES].sort());
});

it("reads error objects", () => {
  const error = errorFromPayload({
    code: "rate_limited",
    message: "slow down",
    retryable: true,
    retry_after_ms: 250,
    details: { any: 1 },
  });
  expect(error).toBeInstanceOf(StrettoError);
  expect(error).toMatchObject({
    code: "rate_limited",
    message: "slow down",
    retryable: true,
    retryAfterMs: 250,
    details: { any: 1 },
  });
});

it.each([null, 5, [], {}, { code: "from_the_future" }])("reads %j as internal_error", (payload) => {
  expect(errorFromPayload(payload)).toMatchObject({ code: "internal_error", retryable: false });
});

it("wraps whatever was thrown", () => {
  expect(asStrettoError("boo")).toMatchObject({ code: "internal_error", message: "boo" });
  const own = new StrettoError("busy", "busy");
  expect(asStrettoError(own)).toBe(own);
});

import * as generated from "./protocol.gen.js";

/** Every code that Stretto reports: a closed set, the same in all languages. */
export const ERROR_CODES = [
  "unauthenticated",
  "token_expired",
  "forbidden",
  "not_found",
  "not_joined",
  "invalid_request",
  "invalid_operation",
  "too_large",
  "rate_limited",
  "room_full",
  "revision_conflict",
  "version_ahead",
  "version_gone",
  "sequence_gap",
  "epoch_changed",
  "busy",
  "unavailable",
  "shutting_down",
  "internal_error",
] as const satisfies readonly generated.ErrorCode[];

/** A code of the closed set. Stable: programs may compare it. */
export type ErrorCode = (typeof ERROR_CODES)[number];

const RETRYABLE: ReadonlySet<ErrorCode> = new Set(generated.RETRYABLE);

/** What may go with an error: how long to wait, and what the code's row in the contract names. */
export interface ErrorOptions {
  readonly retryAfterMs?: number | undefined;
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * The one error that the SDK throws, rejects with and hands to listeners.
 *
 * `code` is for programs, `message` for people. A retryable error passes by itself: wait
 * `retryAfterMs`, then try again. The SDK does so on its own wherever it can.
 */
export class StrettoError extends Error {
  override readonly name = "StrettoError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message);
    this.code = code;
    this.retryable = RETRYABLE.has(code);
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details;
  }
}

/**
 * Return the error that an error object of the wire contract describes.
 *
 * An unknown code, as a newer server may send one, reads as `internal_error`: its outcome is
 * unknown, which is the safe reading.
 */
export function errorFromPayload(payload: unknown): StrettoError {
  const given = isRecord(payload) ? payload : {};
  const code = ERROR_CODES.find((known) => known === given["code"]) ?? "internal_error";
  const message = typeof given["message"] === "string" ? given["message"] : code;
  const wait = given["retry_after_ms"];
  return new StrettoError(code, message, {
    retryAfterMs: typeof wait === "number" && wait >= 0 ? wait : undefined,
    details: isRecord(given["details"]) ? given["details"] : undefined,
  });
}

/** Return the error for a connection that is not there, or went away before the answer. */
export function connectionLost(message = "the connection was lost"): StrettoError {
  return new StrettoError("unavailable", message);
}

/** Return `reason` as a StrettoError, whatever was thrown. */
export function asStrettoError(reason: unknown): StrettoError {
  if (reason instanceof StrettoError) return reason;
  return new StrettoError("internal_error", reason instanceof Error ? reason.message : `${reason}`);
}

/** Tell whether `value` is a plain JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The hash that chains the entries of a document's log to a history. */
import type { Entry } from "./protocol.js";
import { sha256 } from "./sha256.js";

const HASH_BYTES = 8;
const encoder = new TextEncoder();

/**
 * Return the history hash after `entry`: 16 hex digits.
 *
 * The first 8 bytes of SHA-256 over the previous hash's 8 bytes and the JSON of
 * `[client, seq, op]`.
 */
export function nextHash(previous: string, { client, seq, op }: Entry): string {
  const json = encoder.encode(JSON.stringify([client, seq, op]));
  const bytes = new Uint8Array(HASH_BYTES + json.length);
  for (let i = 0; i < HASH_BYTES; i++)
    bytes[i] = Number.parseInt(previous.slice(i * 2, i * 2 + 2), 16);
  bytes.set(json, HASH_BYTES);
  return hex(sha256(bytes).subarray(0, HASH_BYTES));
}

/** Return `bytes` as hex digits. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

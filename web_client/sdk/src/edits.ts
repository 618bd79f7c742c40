/** Edits as applications write them, in code points, and the operations that they mean. */
import { isRecord, StrettoError } from "./errors.js";
import { inputLength, normalize, type Operation } from "./operation.js";
import type { Replica } from "./replica.js";

/**
 * An edit of `sendOperation`. Positions and lengths count code points. A `version` older than
 * the replica's says where they count; a newer one, or none, means now. `to` counts after the
 * removal.
 */
export type Edit =
  | { readonly type: "insert"; position: number; data: string; version?: number }
  | { readonly type: "delete"; position: number; length: number; version?: number }
  | { readonly type: "replace"; position: number; length: number; data: string; version?: number }
  | { readonly type: "move"; position: number; length: number; to: number; version?: number };

const KEYS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ["insert", ["position", "data"]],
  ["delete", ["position", "length"]],
  ["replace", ["position", "length", "data"]],
  ["move", ["position", "length", "to"]],
]);

/**
 * Return the operation on the text shown that `edit` means. Throws `invalid_request` for
 * anything else, `version_gone` where the replica no longer holds that version, and
 * `invalid_operation` for a text with half a character.
 */
export function buildOperation(replica: Replica, edit: Edit): Operation {
  checkKeys(edit);
  const position = whole(edit, "position");
  const version = edit.version == null ? undefined : whole(edit, "version");
  if (edit.type === "insert") return replica.carried([position, text(edit)], version);
  const length = whole(edit, "length");
  if (edit.type === "delete") return replica.carried([position, -length], version);
  if (edit.type === "replace") return replica.carried([position, text(edit), -length], version);
  return moved(replica, position, length, whole(edit, "to"), version);
}

/** Find the span and its target in the text shown, and move what stands there now. */
function moved(
  replica: Replica,
  position: number,
  length: number,
  to: number,
  version: number | undefined,
): Operation {
  const shown = replica.text;
  const removal = replica.carried([position, -length], version);
  const target = positionOf(replica.carried([to <= position ? to : to + length, "|"], version));
  const start = positionOf(removal);
  const end = inputLength(removal);
  if (end > shown.points || target > shown.points) {
    throw new StrettoError("invalid_request", "the span or its target lies outside the text");
  }
  // Into itself, or nothing of it is left.
  if (removal.length === 0 || (start < target && target < end)) return [];
  const span = shown.slice(shown.toUnits(start), shown.toUnits(end));
  return target <= start
    ? normalize([target, span, start - target, start - end])
    : normalize([start, start - end, target - end, span]);
}

/** Return where the first insertion or deletion of an operation stands. */
function positionOf([first]: Operation): number {
  return typeof first === "number" && first > 0 ? first : 0;
}

function checkKeys(edit: unknown): asserts edit is Edit {
  const given = isRecord(edit) ? edit : {};
  const needed = KEYS.get(given["type"]);
  if (needed === undefined) throw invalid("type", "must be insert, delete, replace or move");
  const allowed = ["type", "version", ...needed];
  for (const key of Object.keys(given)) {
    if (!allowed.includes(key)) throw invalid(key, `does not go with ${given["type"]}`);
  }
  for (const key of needed) if (!Object.hasOwn(given, key)) throw invalid(key, "missing");
}

function whole(edit: Edit, key: string): number {
  const value = (edit as unknown as Record<string, unknown>)[key];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw invalid(key, "not a whole number of 0 or more");
  }
  return value;
}

function text(edit: { readonly data: unknown }): string {
  if (typeof edit.data !== "string") throw invalid("data", "not a string");
  return edit.data;
}

function invalid(key: string, reason: string): StrettoError {
  return new StrettoError("invalid_request", `${key}: ${reason}`, { details: { [key]: [reason] } });
}

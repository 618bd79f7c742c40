import {
  type Component,
  isHighSurrogate,
  normalize,
  type Operation,
  pointLength,
  unitsOf,
} from "./operation.js";
import { type Limits, OP_BYTES } from "./protocol.js";

/** What one operation on the wire may hold. */
export type OperationLimits = Pick<Limits, "op_components" | "op_inserted">;

/** Two operations with the effect of one. */
export interface Split {
  readonly head: Operation;
  readonly rest: Operation;
}

/** Digits of the largest number, sign and comma. */
const NUMBER_BYTES = 18;

/**
 * Return `op`, which is canonical, as the longest leading part that fits the limits and the
 * rest, which applies after it. Where limits are too narrow for any change, the leading part
 * holds one change all the same.
 */
export function split(op: Operation, limits: OperationLimits, bytes = OP_BYTES): Split {
  const head: Component[] = [];
  let components = limits.op_components;
  let points = limits.op_inserted;
  let budget = bytes - 2 * NUMBER_BYTES;
  let reach = 0; // length of what `head` has produced: the rest keeps it
  let changes = false;
  for (const [index, part] of op.entries()) {
    const isFull = components <= 0 || budget <= NUMBER_BYTES;
    if (changes && (isFull || (typeof part === "string" && points <= 0))) {
      return cut(head, [reach, ...op.slice(index)]);
    }
    components -= 1;
    if (typeof part === "number") {
      head.push(part);
      reach += Math.max(part, 0);
      budget -= NUMBER_BYTES;
      changes ||= part < 0;
      continue;
    }
    let taken = fitting(part, points, budget);
    if (taken === "" && !changes) taken = part.slice(0, unitsOf(part, 0, 1));
    changes = true;
    head.push(taken);
    const length = pointLength(taken);
    reach += length;
    points -= length;
    budget -= encodedLength(taken);
    if (taken.length < part.length) {
      return cut(head, [reach, part.slice(taken.length), ...op.slice(index + 1)]);
    }
  }
  return { head: op, rest: [] };
}

function cut(head: readonly Component[], rest: readonly Component[]): Split {
  return { head: normalize(head), rest: normalize(rest) };
}

/** Return the longest start of `text` within `points` code points and `bytes` of JSON. */
function fitting(text: string, points: number, bytes: number): string {
  if (text.length <= points && text.length * 6 + 3 <= bytes) return text;
  let left = bytes - 3; // the quotes and the comma
  let units = 0;
  for (let count = 0; count < points && units < text.length; count++) {
    const size = isHighSurrogate(text.charCodeAt(units)) ? 2 : 1;
    left -= encodedUnits(text, units, size);
    if (left < 0) break;
    units += size;
  }
  return text.slice(0, units);
}

/** Return how many bytes `text` takes in a JSON array. */
export function encodedLength(text: string): number {
  let bytes = 3;
  for (let i = 0; i < text.length; i++) {
    const size = isHighSurrogate(text.charCodeAt(i)) ? 2 : 1;
    bytes += encodedUnits(text, i, size);
    i += size - 1;
  }
  return bytes;
}

function encodedUnits(text: string, at: number, size: number): number {
  if (size === 2) return 4;
  const unit = text.charCodeAt(at);
  if (unit < 0x20) return 6;
  if (unit === 0x22 || unit === 0x5c) return 2;
  if (unit < 0x80) return 1;
  return unit < 0x800 ? 2 : 3;
}

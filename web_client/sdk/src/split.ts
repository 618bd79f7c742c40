import {
  type Component,
  isHighSurrogate,
  type Operation,
  OperationBuilder,
  pointLength,
} from "./operation.js";
import { type Limits, OP_BYTES } from "./protocol.js";

/** What one operation on the wire may hold. */
export type OperationLimits = Pick<Limits, "op_components" | "op_inserted">;

/** Two operations with the effect of one. */
export interface Split {
  readonly head: Operation;
  readonly rest: Operation;
}

/**
 * Return the largest leading part of `op`, which is canonical, that fits the limits, and the
 * rest, which applies after it.
 */
export function split(op: Operation, limits: OperationLimits, bytes = OP_BYTES): Split {
  const head = new OperationBuilder();
  const rest = new OperationBuilder();
  let components = limits.op_components - 1; // one may be added by the keep before a part
  let inserted = limits.op_inserted;
  let budget = bytes;
  let full = false;
  let behind = 0; // length of what `head` has produced: the rest keeps it
  for (const component of op) {
    if (full) {
      rest.push(component);
      continue;
    }
    const part = typeof component === "string" ? fitting(component, inserted, budget) : component;
    head.push(part);
    behind += reach(part);
    components -= 1;
    if (typeof part === "string") {
      inserted -= pointLength(part);
      budget -= encodedLength(part);
    } else {
      budget -= 20; // digits of the largest number, sign and comma
    }
    full = part !== component || components <= 0 || budget <= 20;
    if (!full) continue;
    rest.push(behind);
    if (typeof component === "string") rest.push(component.slice((part as string).length));
  }
  return { head: head.finish(), rest: rest.finish() };
}

/** How far behind a component the result of the operation reaches. */
function reach(component: Component): number {
  return typeof component === "string" ? pointLength(component) : Math.max(component, 0);
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

import { invalidOperation, normalize, type Operation, pointLength } from "./operation.js";

/** Where a position goes when text is inserted exactly there: before it or behind it. */
export type Bias = -1 | 1;

/**
 * Return where `position`, in code points, is after `op`.
 *
 * Bias −1 stays before an insertion at the position, 1 goes behind it. A position inside a
 * deleted span moves to where the span was, on that side of an insertion beside the span on
 * which it has been.
 */
export function mapPosition(position: number, op: Operation, bias: Bias): number {
  if (!Number.isSafeInteger(position) || position < 0) {
    throw invalidOperation("a position is a whole number from 0 on");
  }
  const stop = bias > 0 ? -1 : 0;
  let ahead = position; // characters between the component at hand and the position
  let mapped = position;
  for (const component of normalize(op)) {
    if (ahead <= stop) break;
    if (typeof component === "string") {
      mapped += pointLength(component);
    } else {
      if (component < 0) mapped -= Math.min(-component, ahead);
      ahead -= Math.abs(component);
    }
  }
  return mapped;
}

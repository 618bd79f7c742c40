import { StrettoError } from "./errors.js";

/** Keep n characters (`n > 0`), insert a string, or delete n characters (`-n`). */
export type Component = number | string;

/**
 * An edit of a text: what follows its last component is kept. Characters are Unicode code
 * points, not UTF-16 units; only `units.ts` converts.
 *
 * Canonical: no zero, no empty string, no two neighbours of one kind, no trailing keep. `[]`
 * changes nothing. Insert and delete stay in the order given where they meet: it tells on
 * which side of the deleted span the text belongs.
 */
export type Operation = readonly Component[];

/** Whose text comes first where two operations insert at one place. */
export type Side = "left" | "right";

/** Return the error for an operation that is malformed or does not fit its document. */
export function invalidOperation(message: string): StrettoError {
  return new StrettoError("invalid_operation", message);
}

/**
 * Return if `op` is a well-formed operation, canonical or not.
 *
 * Throws `invalid_operation` for anything else: no array, a fraction, a number beyond
 * 2^53 − 1, text with a lone surrogate. Lengths are not compared with any document here.
 */
export function check(op: unknown): asserts op is Operation {
  if (!Array.isArray(op)) throw invalidOperation("an operation is an array of components");
  for (const component of op as unknown[]) {
    if (typeof component === "string") {
      if (!isWellFormed(component)) {
        throw invalidOperation("inserted text holds a lone surrogate");
      }
    } else if (typeof component !== "number") {
      throw invalidOperation("a component is a whole number or a string");
    } else if (!Number.isSafeInteger(component)) {
      throw invalidOperation("a component has a fraction, is not finite, or beyond 2^53 - 1");
    }
  }
}

/**
 * Return the canonical form of `op`, which has the same effect. Throws as {@link check}, and
 * where `op` reads more than 2^53 − 1 characters: no document has them, no component says so.
 */
export function normalize(op: unknown): Operation {
  check(op);
  if (!Number.isSafeInteger(inputLength(op))) {
    throw invalidOperation("the operation is longer than any document");
  }
  const builder = new OperationBuilder();
  for (const component of op) builder.push(component);
  return builder.finish();
}

/** Collects components into a canonical operation. */
export class OperationBuilder {
  private readonly parts: Component[] = [];

  /** Append a component, merged with a last one of its own kind. */
  push(component: Component): void {
    if (component === 0 || component === "") return;
    const at = this.parts.length - 1;
    const last = this.parts[at];
    if (typeof last === "string" && typeof component === "string") {
      this.parts[at] = last + component;
    } else if (
      typeof last === "number" &&
      typeof component === "number" &&
      last > 0 === component > 0
    ) {
      this.parts[at] = last + component;
    } else {
      this.parts.push(component);
    }
  }

  /** Return the operation, without a trailing keep. The builder is used up. */
  finish(): Operation {
    const last = this.parts.at(-1);
    if (typeof last === "number" && last > 0) this.parts.pop();
    return this.parts;
  }
}

/** Tell whether `text` can be written as UTF-8: every surrogate is one of a pair. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/** Return how many code points `text` has; it is well formed. */
export function pointLength(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length; i++) {
    if (isHighSurrogate(text.charCodeAt(i))) length--;
  }
  return length;
}

/** Return how many UTF-16 units the `points` code points from `start` (a unit) on take. */
export function unitsOf(text: string, start: number, points: number): number {
  let at = start;
  for (let left = points; left > 0; left--) {
    at += isHighSurrogate(text.charCodeAt(at)) ? 2 : 1;
  }
  return at - start;
}

/** Tell whether a UTF-16 unit is the first half of an astral character. */
export function isHighSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xd800;
}

/** Tell whether a UTF-16 unit is the second half of an astral character. */
export function isLowSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xdc00;
}

/** Return how many characters a checked `op` reads: its document must be that long. */
export function inputLength(op: Operation): number {
  let length = 0;
  for (const part of op) if (typeof part === "number") length += Math.abs(part);
  return length;
}

/** Return how many characters a checked `op` inserts. */
export function insertedLength(op: Operation): number {
  let length = 0;
  for (const part of op) if (typeof part === "string") length += pointLength(part);
  return length;
}

/** Return the text that `op` inserts, in its order: what a refused edit gives back. */
export function insertedText(op: Operation): string {
  return op.filter((part) => typeof part === "string").join("");
}

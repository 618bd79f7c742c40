import {
  isHighSurrogate,
  isLowSurrogate,
  type Operation,
  OperationBuilder,
  pointLength,
} from "./operation.js";

/** Comparing token by token takes quadratic time: what multiplies to more is not compared. */
const CHARACTERS = 250_000;
const LINES = 4_000_000;

/**
 * Return an operation that turns `before` into `after`.
 *
 * What is common at both ends stays. Between them the longest common subsequence stays: of
 * characters, of lines where that is too much, of nothing where both are.
 */
export function difference(before: string, after: string): Operation {
  const [start, end] = commonEnds(before, after);
  const builder = new OperationBuilder();
  builder.push(pointLength(before.slice(0, start)));
  const old = before.slice(start, before.length - end);
  const fresh = after.slice(start, after.length - end);
  if (old.length * fresh.length <= CHARACTERS) {
    compare(builder, [...old], [...fresh]);
  } else {
    const [a, b] = [old, fresh].map((text) => text.split(/(?<=\n)/)) as [string[], string[]];
    if (a.length * b.length <= LINES) compare(builder, a, b);
    else replace(builder, old, fresh);
  }
  return builder.finish();
}

/** Return how many units both texts have in common at the start and, apart from it, the end. */
function commonEnds(before: string, after: string): readonly [number, number] {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before.charCodeAt(start) === after.charCodeAt(start)) start++;
  if (start > 0 && isHighSurrogate(before.charCodeAt(start - 1))) start--;
  let end = 0;
  while (
    end < shorter - start &&
    before.charCodeAt(before.length - 1 - end) === after.charCodeAt(after.length - 1 - end)
  ) {
    end++;
  }
  if (end > 0 && isLowSurrogate(before.charCodeAt(before.length - end))) end--;
  return [start, end];
}

/** Append what turns the tokens `a` into `b`, keeping a longest common subsequence. */
function compare(builder: OperationBuilder, a: readonly string[], b: readonly string[]): void {
  const width = b.length + 1;
  // kept[i * width + j]: the length of that subsequence for a from i on and b from j on.
  const kept = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => kept[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      kept[i * width + j] =
        a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [old, fresh] = [a[i], b[j]];
    if (old !== undefined && old === fresh) {
      builder.push(pointLength(old));
      [i, j] = [i + 1, j + 1];
    } else if (old !== undefined && at(i + 1, j) >= at(i, j + 1)) {
      builder.push(-pointLength(old));
      i++;
    } else {
      builder.push(fresh ?? "");
      j++;
    }
  }
}

function replace(builder: OperationBuilder, old: string, fresh: string): void {
  builder.push(-pointLength(old));
  builder.push(fresh);
}

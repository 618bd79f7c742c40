import { expect, it } from "vitest";
import { inputLength, insertedLength, normalize, type Operation } from "../src/operation.js";
import { encodedLength, split } from "../src/split.js";
import { apply, compose } from "../src/transform.js";
import { Random } from "./random.js";

const WIDE = { op_components: 10_000, op_inserted: 1_000_000 };

it("leaves alone what fits", () => {
  const op: Operation = [2, "abc", -4];
  expect(split(op, WIDE)).toEqual({ head: op, rest: [] });
});

it.each<[{ op_inserted?: number; op_components?: number }, number]>([
  [{ op_inserted: 4 }, 100_000],
  [{ op_components: 4 }, 100_000],
  [{}, 90],
])("parts within %j and %d bytes do what the whole does", (limits, bytes) => {
  const random = new Random(5);
  const document = "abcdefghijklmnopqrstuvwxyz😀🎼";
  for (let i = 0; i < 500; i++) {
    const op = random.operation(28);
    let whole: Operation = [];
    let rest = op;
    for (let parts = 0; rest.length > 0; parts++) {
      expect(parts).toBeLessThan(50);
      const cut = split(rest, { ...WIDE, ...limits }, bytes);
      expect(normalize(cut.head)).toEqual(cut.head);
      expect(insertedLength(cut.head)).toBeLessThanOrEqual(limits.op_inserted ?? 1_000_000);
      expect(cut.head.length).toBeLessThanOrEqual(limits.op_components ?? 10_000);
      whole = compose(whole, cut.head);
      rest = cut.rest;
    }
    expect(inputLength(whole)).toBeLessThanOrEqual(28);
    expect(apply(document, whole)).toBe(apply(document, op));
  }
});

it("counts the bytes of JSON", () => {
  for (const text of ["abc", 'a"\\', "é漢😀", "\n\u0000\u001f"]) {
    const escaped = JSON.stringify(text).replace(/\\[nrtbf]/g, "\\u0000");
    expect(encodedLength(text)).toBe(Buffer.byteLength(escaped) + 1);
  }
});

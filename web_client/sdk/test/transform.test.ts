import { describe, expect, it } from "vitest";
import { normalize, type Operation, type Side } from "../src/operation.js";
import { mapPosition } from "../src/position.js";
import { apply, compose, invert, transform } from "../src/transform.js";
import { Random, randomEdit } from "./random.js";
import { lines, readVectors } from "./vectors.js";

describe("the shared vectors", () => {
  const vectors = readVectors();

  it("are all there", () => {
    expect(vectors.length).toBe(3000);
  });

  it("apply", () => {
    for (const v of vectors) {
      expect(apply(v.doc, v.x)).toBe(v.dx);
      expect(apply(v.doc, v.y)).toBe(v.dy);
      expect(apply(v.dx, v.z)).toBe(v.dxz);
    }
  });

  it("transform, literally", () => {
    for (const v of vectors) {
      expect(transform(v.x, v.y, "left")).toEqual(v.xyl);
      expect(transform(v.x, v.y, "right")).toEqual(v.xyr);
      expect(transform(v.y, v.x, "left")).toEqual(v.yxl);
      expect(transform(v.y, v.x, "right")).toEqual(v.yxr);
      expect(apply(v.dx, v.yxr)).toBe(v.dxy);
      expect(apply(v.dy, v.xyr)).toBe(v.dyx);
    }
  });

  it("compose, by its effect", () => {
    for (const v of vectors) expect(apply(v.doc, compose(v.x, v.z))).toBe(v.dxz);
  });

  it("invert", () => {
    for (const v of vectors) expect(apply(v.dx, invert(v.x, v.doc))).toBe(v.doc);
  });

  it("map positions that stay before an insertion", () => {
    for (const v of vectors) {
      v.pos.forEach((mapped, position) => {
        expect(mapPosition(position, v.x, -1)).toBe(mapped);
      });
    }
  });

  it("agree on edge cases, but for deletes past the end", () => {
    for (const line of lines()) {
      if (!("applyOp" in line)) continue;
      const run = (): string => apply(String(line["doc"]), line["applyOp"] as Operation);
      const past = JSON.stringify(line["applyOp"]).includes("-") || line["err"] !== null;
      if (past) expect(run).toThrow("longer than its document");
      else expect(run()).toBe(line["res"]);
    }
  });
});

describe("with seeded random operations", () => {
  const random = new Random(20260101);
  const cases = Array.from({ length: 2000 }, () => {
    const doc = apply("", [Array.from({ length: random.below(6) }, () => random.text()).join("")]);
    const a = randomEdit(random, doc);
    const b = randomEdit(random, doc);
    return { doc, a, b, afterA: randomEdit(random, apply(doc, a)) };
  });

  it("two replicas converge", () => {
    for (const { doc, a, b } of cases) {
      const left = apply(apply(doc, b), transform(a, b, "left"));
      const right = apply(apply(doc, a), transform(b, a, "right"));
      expect(left).toBe(right);
    }
  });

  it("composing commutes with transforming, for side left", () => {
    for (const { a, b, afterA } of cases) {
      const composed = transform(b, compose(a, afterA), "left");
      const stepwise = transform(transform(b, a, "left"), afterA, "left");
      expect(composed).toEqual(stepwise);
    }
  });

  it("results are canonical", () => {
    for (const { doc, a, b, afterA } of cases) {
      const sides: readonly Side[] = ["left", "right"];
      const results = [
        compose(a, afterA),
        invert(a, doc),
        ...sides.map((side) => transform(a, b, side)),
      ];
      for (const result of results) expect(normalize(result)).toEqual(result);
    }
  });

  it("an inverse takes everything back", () => {
    for (const { doc, a } of cases) expect(apply(apply(doc, a), invert(a, doc))).toBe(doc);
  });
});

it("compose puts a later insert after deletes at its place", () => {
  expect(compose([-3], ["x"])).toEqual([-3, "x"]);
  expect(compose(["a", -3, "b"], [1, "x"])).toEqual(["a", -3, "xb"]);
});

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Operation } from "../src/operation.js";

const FILE = new URL("../../../tests/vectors/text-unicode.jsonl.gz", import.meta.url);

/** One case of the shared vectors; the fields are described in the file's first line. */
export interface Vector {
  readonly doc: string;
  readonly x: Operation;
  readonly y: Operation;
  readonly z: Operation;
  readonly dx: string;
  readonly dy: string;
  readonly dxz: string;
  readonly xyl: Operation;
  readonly xyr: Operation;
  readonly yxl: Operation;
  readonly yxr: Operation;
  readonly dxy: string;
  readonly dyx: string;
  readonly inv: Operation;
  readonly xs: Operation;
  readonly pos: readonly number[];
}

/** The cases, with `{"d": n}` and `{"d": text}` written as `-n`. */
export function readVectors(): readonly Vector[] {
  return lines()
    .slice(1)
    .filter((line) => "doc" in line && "xyl" in line) as unknown as Vector[];
}

/** The first line and all others, as they are. */
export function lines(): readonly Record<string, unknown>[] {
  const text = gunzipSync(readFileSync(FILE)).toString("utf8");
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line, reviveDelete) as Record<string, unknown>);
}

function reviveDelete(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("d" in value)) return value;
  return typeof value.d === "string" ? -[...value.d].length : -Number(value.d);
}

// Tells Node which of the two builds is which.
import { writeFileSync } from "node:fs";

for (const [folder, type] of [
  ["esm", "module"],
  ["cjs", "commonjs"],
]) {
  const path = new URL(`../dist/${folder}/package.json`, import.meta.url);
  writeFileSync(path, `${JSON.stringify({ type, sideEffects: false })}\n`);
}

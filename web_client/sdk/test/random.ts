/** Seeded chance and random edits for tests. */
import { type Operation, OperationBuilder, pointLength } from "../src/operation.js";

/** A seeded source of numbers in [0, 1): mulberry32. */
export class Random {
  constructor(private state: number) {}

  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }

  /** Text of up to five characters, astral ones among them. */
  text(): string {
    const alphabet = ["a", "b", "c", " ", "\n", "é", "漢", "😀", "🎼", "\u0000"];
    return Array.from({ length: 1 + this.below(5) }, () => this.pick(alphabet)).join("");
  }

  /** An operation on a text of `length` code points. */
  operation(length: number): Operation {
    const builder = new OperationBuilder();
    let left = length;
    for (let part = 1 + this.below(4); part > 0; part--) {
      const span = this.below(Math.min(left, 12) + 1);
      const kind = this.below(4);
      if (kind === 0) builder.push(this.text());
      else builder.push(kind === 1 ? -span : span);
      if (kind !== 0) left -= span;
    }
    if (this.chance(0.3)) builder.push(this.text());
    return builder.finish();
  }
}

/** An operation on `text`. */
export function randomEdit(random: Random, text: string): Operation {
  return random.operation(pointLength(text));
}

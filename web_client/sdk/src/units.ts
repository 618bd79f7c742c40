/**
 * UTF-16 units at the editor's edge, code points everywhere else.
 *
 * JavaScript strings count an astral character (most emoji) as two units, Stretto as one.
 * `DocumentText` keeps where a text's astral characters are, so that conversion is exact,
 * and free as long as there are none.
 */
import {
  inputLength,
  invalidOperation,
  isHighSurrogate,
  normalize,
  type Operation,
  OperationBuilder,
} from "./operation.js";

/** One replacement, in UTF-16 units of the text before all changes of its list. */
export interface Change {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

const NONE: readonly number[] = [];

/** A text with its astral characters counted. Immutable. */
export class DocumentText {
  static readonly EMPTY = new DocumentText("", NONE);

  private constructor(
    private readonly text: string,
    /** The units at which astral characters start, ascending. */
    private readonly astral: readonly number[],
  ) {}

  /** Return `text`, which is well formed, with its astral characters found. */
  static of(text: string): DocumentText {
    return text === "" ? DocumentText.EMPTY : new DocumentText(text, astralUnits(text));
  }

  toString(): string {
    return this.text;
  }

  /** Length in UTF-16 units. */
  get units(): number {
    return this.text.length;
  }

  /** Length in code points. */
  get points(): number {
    return this.text.length - this.astral.length;
  }

  /**
   * Return the code point position of `unit`. Throws `invalid_operation` where there is no
   * such unit, or where it is the second half of an astral character.
   */
  toPoints(unit: number): number {
    if (!Number.isSafeInteger(unit) || unit < 0 || unit > this.units) {
      throw invalidOperation(`no position ${unit} in a text of ${this.units} units`);
    }
    const before = countBelow(this.astral, (start) => start < unit);
    if (before > 0 && this.astral[before - 1] === unit - 1) {
      throw invalidOperation(`position ${unit} splits a character`);
    }
    return unit - before;
  }

  /** Return the unit at which code point `point` starts; past the end, the end. */
  toUnits(point: number): number {
    if (point >= this.points) return this.units;
    // The i-th astral character is at code point astral[i] - i.
    return point + countBelow(this.astral, (start, index) => start - index < point);
  }

  /** Return what `op` does to this text, in UTF-16 units, one change for each place. */
  changes(op: Operation): readonly Change[] {
    const canonical = this.fitting(op);
    const changes: Change[] = [];
    let point = 0;
    let from = 0;
    let to = 0;
    let insert = "";
    const flush = (): void => {
      if (to > from || insert !== "") changes.push({ from, to, insert });
      insert = "";
    };
    for (const component of canonical) {
      if (typeof component === "string") {
        insert += component;
        continue;
      }
      point += Math.abs(component);
      if (component < 0) {
        to = this.toUnits(point);
      } else {
        flush();
        from = to = this.toUnits(point);
      }
    }
    flush();
    return changes;
  }

  /**
   * Return `changes`, ascending and disjoint, as an operation on this text. Throws
   * `invalid_operation` where one splits an astral character or inserts half of one.
   */
  operation(changes: Iterable<Change>): Operation {
    const builder = new OperationBuilder();
    let at = 0;
    for (const { from, to, insert } of changes) {
      const start = this.toPoints(from);
      const end = this.toPoints(to);
      if (start < at || end < start) throw invalidOperation("changes overlap or descend");
      builder.push(start - at);
      // Delete, then insert: what composing the two edits gives as well.
      builder.push(start - end);
      builder.push(insert);
      at = end;
    }
    return normalize(builder.finish());
  }

  /** Return the text after `op`. Throws `invalid_operation` when `op` is longer than it. */
  apply(op: Operation): DocumentText {
    return this.replaced(this.changes(op));
  }

  /** Return the text after `changes`, ascending and disjoint. */
  replaced(changes: readonly Change[]): DocumentText {
    if (changes.length === 0) return this;
    const pieces: string[] = [];
    let at = 0;
    for (const { from, to, insert } of changes) {
      pieces.push(this.text.slice(at, from), insert);
      at = to;
    }
    pieces.push(this.text.slice(at));
    return new DocumentText(pieces.join(""), this.shifted(changes));
  }

  /** Return where the astral characters are after `changes`. */
  private shifted(changes: readonly Change[]): readonly number[] {
    const added = changes.map((change) => astralUnits(change.insert));
    if (this.astral.length === 0 && added.every((starts) => starts.length === 0)) return NONE;
    const result: number[] = [];
    let index = 0;
    let shift = 0;
    changes.forEach(({ from, to, insert }, i) => {
      for (let start = this.astral[index]; start !== undefined && start < from; ) {
        result.push(start + shift);
        start = this.astral[++index];
      }
      while ((this.astral[index] ?? Number.POSITIVE_INFINITY) < to) index++;
      for (const start of added[i] ?? NONE) result.push(from + shift + start);
      shift += insert.length - (to - from);
    });
    for (; index < this.astral.length; index++) result.push((this.astral[index] ?? 0) + shift);
    return result;
  }

  private fitting(op: Operation): Operation {
    const canonical = normalize(op);
    if (inputLength(op) > this.points) {
      throw invalidOperation("the operation is longer than its document");
    }
    return canonical;
  }
}

/**
 * Return where `unit` is after `changes`: before text inserted exactly there with bias −1,
 * behind it with bias 1. A place within what is taken out moves to where that was.
 */
export function mapUnit(unit: number, changes: readonly Change[], bias: -1 | 1): number {
  let shift = 0;
  for (const { from, to, insert } of changes) {
    if (from > unit) break;
    if (to >= unit) return from + shift + (bias > 0 && to === unit ? insert.length : 0);
    shift += insert.length - (to - from);
  }
  return unit + shift;
}

/** Tell whether a UTF-16 unit is the second half of an astral character. */
export function isLowSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xdc00;
}

/** Return the units at which astral characters of `text` start. */
function astralUnits(text: string): readonly number[] {
  const starts: number[] = [];
  for (let i = 0; i < text.length; i++) {
    if (isHighSurrogate(text.charCodeAt(i))) starts.push(i);
  }
  return starts.length === 0 ? NONE : starts;
}

/** Return how many leading items satisfy `below`, which holds for a prefix of `items`. */
function countBelow(
  items: readonly number[],
  below: (item: number, index: number) => boolean,
): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (below(items[middle] ?? 0, middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * UTF-16 units at the editor's edge, code points everywhere else.
 *
 * JavaScript strings count an astral character (most emoji) as two units, Stretto as one.
 * `DocumentText` keeps where a text's astral characters are, so that conversion is exact. It
 * holds the text in pieces: a keystroke in a long document costs as much as its piece.
 */
import {
  inputLength,
  invalidOperation,
  isHighSurrogate,
  isLowSurrogate,
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

/** Pieces are no longer than this, and rarely shorter than a quarter of it. */
const PIECE = 2_048;

const NONE: readonly number[] = [];

/** A part of a text. It never begins or ends within an astral character. */
interface Piece {
  readonly text: string;
  /** The units, counted from the piece's start, at which astral characters start. */
  readonly astral: readonly number[];
}

/** A text with its astral characters counted. Immutable. */
export class DocumentText {
  static readonly EMPTY = new DocumentText([]);

  /** Length in UTF-16 units. */
  readonly units: number;
  /** Length in code points. */
  readonly points: number;
  private whole: string | null = null;

  private constructor(private readonly pieces: readonly Piece[]) {
    let [units, points] = [0, 0];
    for (const { text, astral } of pieces) {
      units += text.length;
      points += text.length - astral.length;
    }
    this.units = units;
    this.points = points;
  }

  /** Return `text`, which is well formed, with its astral characters found. */
  static of(text: string): DocumentText {
    if (text === "") return DocumentText.EMPTY;
    const pieces = new Pieces();
    pieces.add(text);
    return new DocumentText(pieces.finish());
  }

  toString(): string {
    this.whole ??= this.pieces.map(({ text }) => text).join("");
    return this.whole;
  }

  /** Return the text between two units, without making the whole. */
  slice(from: number, to: number): string {
    const found: string[] = [];
    let start = 0;
    for (const { text } of this.pieces) {
      if (start >= to) break;
      if (start + text.length > from) found.push(text.slice(Math.max(0, from - start), to - start));
      start += text.length;
    }
    return found.join("");
  }

  /**
   * Return the code point position of `unit`. Throws `invalid_operation` where there is no
   * such unit, or where it is the second half of an astral character.
   */
  toPoints(unit: number): number {
    if (!Number.isSafeInteger(unit) || unit < 0 || unit > this.units) {
      throw invalidOperation(`the text has no position ${unit}`);
    }
    if (this.units === this.points) return unit;
    let [start, point] = [0, 0];
    for (const { text, astral } of this.pieces) {
      if (unit < start + text.length) {
        const within = unit - start;
        if (isLowSurrogate(text.charCodeAt(within))) {
          throw invalidOperation(`position ${unit} splits a character`);
        }
        return point + within - countBelow(astral, (at) => at < within);
      }
      start += text.length;
      point += text.length - astral.length;
    }
    return point;
  }

  /** Return the unit position of a code point; one past the end is clamped to the end. */
  toUnits(point: number): number {
    if (point >= this.points) return this.units;
    if (this.units === this.points) return point;
    let [start, reached] = [0, 0];
    for (const { text, astral } of this.pieces) {
      const points = text.length - astral.length;
      if (point < reached + points) {
        const within = point - reached;
        // The i-th astral character is at code point astral[i] - i.
        return start + within + countBelow(astral, (at, index) => at - index < within);
      }
      start += text.length;
      reached += points;
    }
    return start;
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
    const pieces = new Pieces();
    let index = 0;
    let start = 0; // the unit at which the piece at hand starts
    let at = 0;
    const keepUpTo = (end: number): void => {
      for (let piece = this.pieces[index]; piece !== undefined; piece = this.pieces[++index]) {
        const stop = start + piece.text.length;
        if (at === start && stop <= end) pieces.keep(piece);
        else pieces.add(piece.text.slice(Math.max(0, at - start), Math.max(0, end - start)));
        at = Math.max(at, Math.min(stop, end));
        if (stop > end) return;
        start = stop;
      }
    };
    for (const { from, to, insert } of changes) {
      keepUpTo(from);
      pieces.add(insert);
      at = to;
    }
    keepUpTo(this.units);
    return new DocumentText(pieces.finish());
  }

  private fitting(op: Operation): Operation {
    const canonical = normalize(op);
    if (inputLength(op) > this.points) {
      throw invalidOperation("the operation is longer than its document");
    }
    return canonical;
  }
}

/** Collects the pieces of a text. */
class Pieces {
  private readonly pieces: Piece[] = [];
  /** What follows the pieces: too short, so far, to be one. */
  private tail = "";

  /** Append a piece of another text, as it is where possible. */
  keep(piece: Piece): void {
    if (this.tail !== "" && this.tail.length < PIECE / 4) {
      this.add(piece.text);
      return;
    }
    this.flush();
    this.pieces.push(piece);
  }

  add(text: string): void {
    this.tail += text;
    if (this.tail.length > PIECE) this.flush();
  }

  finish(): readonly Piece[] {
    const last = this.pieces.at(-1);
    if (last !== undefined && this.tail !== "" && last.text.length + this.tail.length < PIECE / 2) {
      this.pieces.pop();
      this.tail = last.text + this.tail;
    }
    this.flush();
    return this.pieces;
  }

  private flush(): void {
    const { tail } = this;
    for (let at = 0; at < tail.length; ) {
      // What is left is halved where that avoids a short last piece.
      const left = tail.length - at;
      let end = at + (left <= PIECE ? left : Math.min(PIECE, Math.ceil(left / 2)));
      if (isLowSurrogate(tail.charCodeAt(end))) end++;
      const text = tail.slice(at, end);
      this.pieces.push({ text, astral: astralUnits(text) });
      at = end;
    }
    this.tail = "";
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

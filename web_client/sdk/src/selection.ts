/** One's own selections: carried along with the text, and sent when they may be. */
import type { Origin } from "./effects.js";
import type { Range } from "./protocol.js";
import { type Change, type DocumentText, mapUnit } from "./units.js";

/** Cursors are sent at most this often. */
const INTERVAL_MS = 60;

/** What a selection needs of its document. */
export interface SelectionHost {
  /** Whether nothing is pending, and the document is open: positions count at a version then. */
  maySend(): boolean;
  /** Send these ranges, in code points. */
  send(ranges: readonly Range[] | null): void;
  readonly text: DocumentText;
}

/** Where we are, in UTF-16 units of the text shown. */
export class OwnSelection {
  private ranges: readonly Range[] | null = null;
  private isSent = true;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly host: SelectionHost,
    /** How many ranges the server takes. */
    public most: number,
  ) {}

  /** Tell the others; null takes the cursor away. */
  set(ranges: readonly Range[] | null): void {
    // Everyone carries our ranges over our own edits, so typing tells nothing new.
    if (sameRanges(ranges, this.ranges)) return;
    this.ranges = ranges;
    this.isSent = false;
    this.schedule();
  }

  /** Follow a change of the text. */
  carry(changes: readonly Change[], origin: Origin): void {
    const bias = origin === "local" ? 1 : -1;
    const carried = (unit: number): number => mapUnit(unit, changes, bias);
    this.ranges =
      this.ranges?.map(([anchor, head]) => [carried(anchor), carried(head)] as const) ?? null;
  }

  /** Tell again: the member that we are now is not known to be anywhere. */
  reopened(): void {
    this.isSent = this.ranges === null;
  }

  /** Send once it may be. */
  schedule(): void {
    if (this.timer !== null || this.isSent || !this.host.maySend()) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      if (this.isSent || !this.host.maySend()) return;
      const { text } = this.host;
      const point = (unit: number): number => text.toPoints(Math.min(unit, text.units));
      const ranges = this.ranges
        ?.slice(0, this.most)
        .map(([anchor, head]) => [point(anchor), point(head)] as const);
      this.isSent = true;
      this.host.send(ranges ?? null);
    }, INTERVAL_MS);
  }

  stop(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }
}

function sameRanges(a: readonly Range[] | null, b: readonly Range[] | null): boolean {
  if (a === null || b === null || a.length !== b.length) return a === b;
  return a.every(([anchor, head], i) => anchor === b[i]?.[0] && head === b[i]?.[1]);
}

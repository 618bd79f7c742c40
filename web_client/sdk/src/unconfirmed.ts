/**
 * The edits of a replica that are not in its history yet, and how they move.
 *
 * First comes the operation in flight, whose meaning is fixed by its seq once it was sent,
 * then the buffer, composed from whatever was done since. An entry of the history passes below
 * the one and *then* the other, never below their composition: for the operation that comes
 * first (side `right`) that would not be the same, and replicas would drift apart.
 */
import { difference } from "./difference.js";
import type { Operation } from "./operation.js";
import { type OperationLimits, split } from "./split.js";
import { apply, compose, invert, transform } from "./transform.js";

/** The operation that was sent, rewritten for the replica's version. */
export interface InFlight {
  readonly seq: number;
  readonly op: Operation;
  /** How many edits are settled with it. */
  readonly edits: number;
  /** Whether an earlier sending may still commit: what became of it was not heard. */
  readonly unsure: boolean;
}

/** What a replica did and the history does not have, with the seq that was used last. */
export class Unconfirmed {
  inFlight: InFlight | null = null;
  buffer: Operation = [];
  seq = 0;
  /** How many edits were made. */
  made = 0;
  /** How many of them are settled: in the journal, or given back. */
  settled = 0;

  get isEmpty(): boolean {
    return this.inFlight === null && this.buffer.length === 0;
  }

  /** The operations, in the order in which they apply to the confirmed text. */
  get ops(): readonly Operation[] {
    return this.inFlight === null ? [this.buffer] : [this.inFlight.op, this.buffer];
  }

  /** Go on from what another tab stored; it may have sent what was in flight. */
  restore(seq: number, inFlight: Pick<InFlight, "seq" | "op"> | null, buffer: Operation): void {
    this.seq = seq;
    this.buffer = buffer;
    if (inFlight !== null) this.inFlight = { ...inFlight, edits: 1, unsure: true };
    this.made = Number(inFlight !== null) + Number(buffer.length > 0);
  }

  /** Take in what the user did to the text shown. */
  add(op: Operation): void {
    this.buffer = compose(this.buffer, op);
    this.made += 1;
    this.settle(0);
  }

  /** Move as much of the buffer as one operation may hold into flight, under a new seq. */
  takeOff(limits: OperationLimits): void {
    if (this.inFlight !== null || this.buffer.length === 0) return;
    const { head, rest } = split(this.buffer, limits);
    this.buffer = rest;
    this.seq += 1;
    const edits = rest.length === 0 ? this.made : this.settled;
    this.inFlight = { seq: this.seq, op: head, edits, unsure: false };
  }

  /**
   * Whether the operation in flight fits the limits no more: text inserted into the spans that
   * it deletes cuts it into more components.
   */
  isOutgrown(limits: OperationLimits): boolean {
    return this.inFlight !== null && split(this.inFlight.op, limits).rest.length > 0;
  }

  /** Note that the outcome of sending what is in flight may never be heard. */
  doubt(): void {
    if (this.inFlight !== null) this.inFlight = { ...this.inFlight, unsure: true };
  }

  /** The operation in flight is in the history: it is confirmed text now. */
  confirm(): void {
    if (this.inFlight === null) return;
    const { edits } = this.inFlight;
    this.inFlight = null;
    this.settle(edits);
  }

  /** Let `op` of the history pass below; return it as it applies to the text shown. */
  passBelow(op: Operation): Operation {
    let passing = op;
    if (this.inFlight !== null) {
      const own = this.inFlight;
      this.inFlight = { ...own, op: transform(own.op, passing, "left") };
      passing = transform(passing, own.op, "right");
    }
    const { buffer } = this;
    this.buffer = transform(buffer, passing, "left");
    this.settle(0);
    return transform(passing, buffer, "right");
  }

  /**
   * Undo the operation in flight under what came after it; its seq is free again. Return the
   * undoing as it applies to the text shown.
   */
  takeBack(confirmed: string): Operation {
    if (this.inFlight === null) return [];
    const { op, edits } = this.inFlight;
    const undo = invert(op, confirmed);
    const shown = transform(undo, this.buffer, "right");
    this.buffer = transform(this.buffer, undo, "left");
    this.seq -= 1;
    this.inFlight = null;
    this.settle(edits);
    return shown;
  }

  /**
   * Move to `content`, the text of a history in which nothing was sent yet. `lastSeq` is the
   * last one that the old history committed of ours.
   */
  carryOver(confirmed: string, content: string, lastSeq: number): void {
    const own = this.inFlight;
    let [base, unsent, edits] = [confirmed, this.buffer, 0];
    if (own !== null && own.seq <= lastSeq) {
      [base, edits] = [apply(confirmed, own.op), own.edits]; // it is in the content
    } else if (own !== null) {
      unsent = compose(own.op, unsent);
    }
    this.inFlight = null;
    this.buffer = transform(unsent, difference(base, content), "left");
    this.seq = 0;
    this.settle(edits);
  }

  /** Note that edits up to `edits` are settled; all of them when nothing is left. */
  private settle(edits: number): void {
    this.settled = this.isEmpty ? this.made : Math.max(this.settled, edits);
  }
}

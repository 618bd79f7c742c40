/** Keeps one replica on disk, so that closing the tab loses nothing. */
import type { Effect } from "./effects.js";
import { connectionLost } from "./errors.js";
import type { Operation } from "./operation.js";
import type { Replica } from "./replica.js";
import type { Row, UnsentStore } from "./store.js";

/** A replica with what keeps it; nothing does where the client does not persist. */
export interface Lane {
  readonly replica: Replica;
  readonly keep: Keep | null;
}

/** What identifies a row. */
export type RowIdentity = Pick<Row, "slot" | "doc" | "server" | "user" | "owner">;

/** A base is written anew once so much happened since. */
const SINCE_OPS = 256;
const SINCE_LENGTH = 32 * 1024;
/** A row that holds nothing any more goes once it was not needed for this long. */
const IDLE_MS = 5_000;

/** What a keep needs of its surroundings. */
export interface KeepOptions {
  readonly store: UnsentStore;
  readonly identity: RowIdentity;
  readonly now: () => number;
  /** Whether a lock proves that nobody else uses the row. */
  readonly isExclusive: boolean;
  /** Gives up the lock. */
  readonly unlock: () => void;
  /** Called when storage fails: from then on nothing is kept. */
  readonly failed: (reason: unknown) => void;
}

/**
 * Writes a replica's state whenever it changed: one write at a time, the newest state each
 * time. The text is written once, then only what happened to it since.
 */
export class Keep {
  /** Called when another tab took over: this replica must send nothing any more. */
  onLost: () => void = () => undefined;

  private since: Operation[] = [];
  private sinceLength = 0;
  private hasBase = false;
  private hasRow = false;
  private isDirty = false;
  private isOver = false;
  private isLost = false;
  private writing: Promise<void> | null = null;
  private idle: ReturnType<typeof setTimeout> | null = null;

  constructor(
    private readonly replica: Replica,
    private readonly options: KeepOptions,
    /** The row that the replica was restored from. */
    row: Row | null = null,
  ) {
    if (row === null) return;
    this.since = [...row.since];
    this.hasBase = this.hasRow = true;
  }

  /** Take note of what a call of the replica reported, and write what changed. */
  note(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "applied") this.addSince(effect.entry.op);
      if (effect.kind === "opened" && effect.answer.content !== undefined) this.hasBase = false;
    }
    if (effects.length > 0 && (this.hasRow || !this.replica.isSaved)) this.changed();
  }

  /** Write the state as soon as possible. */
  changed(): void {
    if (this.isOver || (!this.hasRow && this.replica.isSaved)) return;
    this.isDirty = true;
    this.drive();
  }

  /** Wait until everything that changed so far is on disk. Rejects when the row was lost. */
  async stored(): Promise<void> {
    while (!this.isOver && (this.isDirty || this.writing !== null)) {
      this.drive();
      await this.writing;
    }
    if (this.isLost) throw connectionLost("another tab goes on with this document");
  }

  /** Write what is left to write, and let others go on from it. The replica is used up. */
  async release(): Promise<void> {
    await this.stored().catch(() => undefined);
    if (!this.isOver) {
      this.isOver = true;
      if (this.replica.isSaved) await this.remove();
    }
    if (this.idle !== null) clearTimeout(this.idle);
    this.options.unlock();
  }

  private addSince(op: Operation): void {
    if (!this.hasBase) return;
    this.since.push(op);
    for (const part of op) this.sinceLength += typeof part === "string" ? part.length : 1;
    if (this.since.length > SINCE_OPS || this.sinceLength > SINCE_LENGTH) this.hasBase = false;
  }

  private drive(): void {
    if (this.writing !== null || !this.isDirty || this.isOver) return;
    this.writing = this.write().finally(() => {
      this.writing = null;
      this.drive();
    });
  }

  private async write(): Promise<void> {
    this.isDirty = false;
    const { store, identity, now } = this.options;
    let base: string | null = null;
    if (!this.hasBase) {
      base = this.replica.confirmed.toString();
      this.since = [];
      this.sinceLength = 0;
      this.hasBase = true;
    }
    const isNew = !this.hasRow;
    const row: Row = {
      ...identity,
      at: now(),
      state: this.replica.state(),
      since: [...this.since],
    };
    this.hasRow = true;
    try {
      const outcome = await store.put(row, base, isNew);
      if (outcome === "written") this.scheduleRemoval();
      else if (outcome === "missing" && this.options.isExclusive) this.startOver();
      else this.lose();
    } catch (reason) {
      this.isOver = true;
      // A row that is not the newest would bring back what was delivered since.
      await this.remove();
      this.options.failed(reason);
    }
  }

  /** Somebody cleared the storage, and nobody else could have delivered what was there. */
  private startOver(): void {
    this.hasRow = this.hasBase = false;
    this.isDirty = true;
  }

  private lose(): void {
    this.isOver = true;
    this.isLost = true;
    this.options.unlock();
    this.onLost();
  }

  private scheduleRemoval(): void {
    if (this.idle !== null) clearTimeout(this.idle);
    this.idle = null;
    if (!this.replica.isSaved) return;
    this.idle = setTimeout(() => {
      if (!this.replica.isSaved || this.isDirty || this.isOver) return;
      this.hasRow = this.hasBase = false;
      void this.remove();
    }, IDLE_MS);
  }

  private async remove(): Promise<void> {
    const { store, identity } = this.options;
    await store.remove(identity.slot, identity.owner).catch(() => undefined);
  }
}

/** Finds what closed tabs left unsent, and keeps what this one has. */
import { Keep, type Lane } from "./keep.js";
import { Replica } from "./replica.js";
import { isUnsent, type Row, UnsentStore } from "./store.js";

/** Whether and where unsent edits are kept; `name` tells apart what must not mix. */
export type PersistOption =
  | boolean
  | {
      readonly name: string;
      /** For tests: other storage, other locks (null: none). */
      readonly indexedDB?: IDBFactory;
      readonly locks?: Pick<LockManager, "request"> | null;
    };

/** A document with edits that the server is not known to have. */
export interface UnsentDocument {
  readonly doc: string;
  /** Whose edits they are: only that user's clients deliver them. */
  readonly user: string;
  /** When the last of them was kept, in milliseconds since 1970. */
  readonly at: number;
}

/** Without locks, a row that nobody wrote for this long is taken to be nobody's. */
const LEASE_MS = 30_000;
/** The server forgets clients after 30 days; an operation in flight would then count twice. */
const LONGEST_MS = 29 * 24 * 3600 * 1000;

/** What a vault needs to know. */
export interface VaultOptions {
  readonly server: string;
  readonly newClient: () => string;
  readonly now: () => number;
  readonly failed: (reason: unknown) => void;
}

/** The kept replicas of one server. */
export class Vault {
  /** Whose clients these are: new for each vault, so no two tabs ever share one. */
  private readonly owner: string;
  private readonly inUse = new Set<string>();

  private constructor(
    private readonly store: UnsentStore,
    private readonly locks: Pick<LockManager, "request"> | null,
    private readonly name: string,
    private readonly options: VaultOptions,
  ) {
    this.owner = options.newClient();
  }

  /**
   * Return the vault that `option` asks for, or null where nothing is to be kept. By itself it
   * needs IndexedDB and Web Locks; asked for by name, IndexedDB is enough.
   */
  static of(option: PersistOption | undefined, options: VaultOptions): Vault | null {
    if (option === false) return null;
    const given = typeof option === "object" ? option : undefined;
    const factory = given?.indexedDB ?? globalThis.indexedDB;
    const locks = given?.locks === undefined ? (globalThis.navigator?.locks ?? null) : given.locks;
    if (factory === undefined || (option === undefined && locks === null)) return null;
    const name = `stretto/${given?.name ?? "default"}`;
    return new Vault(new UnsentStore(factory, name), locks, name, options);
  }

  /** List the documents with unsent edits, of all users and tabs. */
  async unsent(): Promise<readonly UnsentDocument[]> {
    const rows = (await this.store.rows()).filter((row) => this.isOfServer(row) && isUnsent(row));
    const byDoc = new Map<string, UnsentDocument>();
    for (const { doc, user, at } of rows) {
      const known = byDoc.get(JSON.stringify([doc, user]));
      if (known === undefined || known.at < at) {
        byDoc.set(JSON.stringify([doc, user]), { doc, user, at });
      }
    }
    return [...byDoc.values()];
  }

  /**
   * Return what `user` left unsent in `doc` and no living tab has, the newest last: from now on
   * it is ours to deliver.
   */
  async claim(doc: string, user: string): Promise<Lane[]> {
    const rows = (await this.store.rows())
      .filter((row) => this.isOfServer(row) && row.doc === doc && row.user === user)
      .sort((a, b) => a.at - b.at);
    const lanes: Lane[] = [];
    for (const row of rows) {
      const lane = await this.take(row);
      if (lane !== null) lanes.push(lane);
    }
    return lanes;
  }

  /** Return a replica of this tab's own, which is kept from its first edit on. */
  async fresh(doc: string, user: string): Promise<Lane> {
    const slot = this.options.newClient();
    const unlock = (await this.lock(slot)) ?? (() => undefined);
    const replica = new Replica(doc, this.options.newClient);
    return { replica, keep: this.keep(replica, slot, user, unlock, null) };
  }

  async close(): Promise<void> {
    await this.store.close();
  }

  private isOfServer(row: Row): boolean {
    return row.server === this.options.server;
  }

  /** Take a row over; null when a living tab has it, or it holds nothing. */
  private async take(seen: Row): Promise<Lane | null> {
    if (this.locks === null && this.options.now() - seen.at < LEASE_MS) return null;
    const unlock = await this.lock(seen.slot);
    if (unlock === null) return null;
    const kept = await this.store.take(seen, this.owner, seen.at);
    if (kept === null || !isUnsent(kept.row) || this.isTooOld(kept.row)) {
      if (kept !== null && !isUnsent(kept.row)) await this.store.remove(seen.slot, this.owner);
      unlock();
      return null;
    }
    const { state, since } = kept.row;
    // Without a lock nothing proves that the tab is gone: what it sent must not commit later.
    const fenced = this.locks === null;
    const replica = Replica.restore(state, kept.base, since, this.options.newClient, fenced);
    return { replica, keep: this.keep(replica, seen.slot, seen.user, unlock, kept.row) };
  }

  private isTooOld(row: Row): boolean {
    return this.options.now() - row.at > LONGEST_MS;
  }

  private keep(
    replica: Replica,
    slot: string,
    user: string,
    unlock: () => void,
    row: Row | null,
  ): Keep {
    const { server, now, failed } = this.options;
    const identity = { slot, doc: replica.doc, server, user, owner: this.owner };
    const isExclusive = this.locks !== null;
    const options = { store: this.store, identity, now, isExclusive, unlock, failed };
    return new Keep(replica, options, row);
  }

  /** Without locks, at least this vault's own rows are known to be in use. */
  private reserve(slot: string): (() => void) | null {
    if (this.inUse.has(slot)) return null;
    this.inUse.add(slot);
    return () => this.inUse.delete(slot);
  }

  /** Hold the lock of a row until the function returned is called; null when it is taken. */
  private lock(slot: string): Promise<(() => void) | null> {
    const { locks } = this;
    if (locks === null) return Promise.resolve(this.reserve(slot));
    return new Promise((resolve, reject) => {
      const held = locks.request(`${this.name}/${slot}`, { ifAvailable: true }, (lock) => {
        if (lock === null) {
          resolve(null);
          return undefined;
        }
        return new Promise<void>((release) => resolve(() => release()));
      });
      Promise.resolve(held).catch(reject);
    });
  }
}

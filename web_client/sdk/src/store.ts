/** Where unsent edits survive the tab: rows in IndexedDB, each owned by one tab at a time. */
import type { Operation } from "./operation.js";
import type { ReplicaState } from "./replica.js";

/** One replica as it is kept; `base` is the text that it started from, kept apart. */
export interface Row {
  /** What the replica's tab and document are known by: the name of its lock. */
  readonly slot: string;
  readonly doc: string;
  readonly server: string;
  readonly user: string;
  /** Changed by whoever takes the row over; nobody else writes it from then on. */
  readonly owner: string;
  /** When it was written, in milliseconds since 1970. */
  readonly at: number;
  readonly state: ReplicaState;
  /** What led from the base to the confirmed text of `state`. */
  readonly since: readonly Operation[];
}

/** A row with the text that it starts from. */
export interface KeptReplica {
  readonly row: Row;
  readonly base: string;
}

/** Tell whether a row holds edits that are not known to be saved. */
export function isUnsent({ state }: Row): boolean {
  return state.inFlight !== null || state.buffer.length > 0 || state.fence !== null;
}

const ROWS = "replicas";
const BASES = "bases";

/** The rows of one database. Every method is one transaction; all reject when storage fails. */
export class UnsentStore {
  private opened: Promise<IDBDatabase> | null = null;

  constructor(
    private readonly factory: IDBFactory,
    private readonly name: string,
  ) {}

  /** Return all rows. */
  async rows(): Promise<readonly Row[]> {
    const { rows, done } = await this.begin("readonly");
    const all = rows.getAll();
    await done;
    return all.result as Row[];
  }

  /**
   * Write a row, with its base where that changed. Writes nothing where the row is `missing`
   * though it is not new, or another tab has `taken` it over.
   */
  async put(
    row: Row,
    base: string | null,
    isNew: boolean,
  ): Promise<"written" | "missing" | "taken"> {
    const { rows, bases, done } = await this.begin("readwrite");
    const before = rows.get(row.slot);
    let outcome: "written" | "missing" | "taken" = "written";
    before.onsuccess = () => {
      const owner = (before.result as Row | undefined)?.owner;
      if (owner === undefined && !isNew) outcome = "missing";
      else if (owner !== undefined && owner !== row.owner) outcome = "taken";
      if (outcome !== "written") return;
      rows.put(row);
      if (base !== null) bases.put(base, row.slot);
    };
    await done;
    return outcome;
  }

  /** Make a row `owner`'s and return it; null when it is no longer as it was seen. */
  async take(seen: Row, owner: string, at: number): Promise<KeptReplica | null> {
    const { rows, bases, done } = await this.begin("readwrite");
    const found = rows.get(seen.slot);
    const base = bases.get(seen.slot);
    let taken: Row | null = null;
    base.onsuccess = () => {
      const row = found.result as Row | undefined;
      if (row === undefined || row.owner !== seen.owner) return;
      taken = { ...row, owner, at };
      rows.put(taken);
    };
    await done;
    return taken === null ? null : { row: taken, base: (base.result as string | undefined) ?? "" };
  }

  /** Take a row away, if it is still `owner`'s. */
  async remove(slot: string, owner: string): Promise<void> {
    const { rows, bases, done } = await this.begin("readwrite");
    const found = rows.get(slot);
    found.onsuccess = () => {
      if ((found.result as Row | undefined)?.owner !== owner) return;
      rows.delete(slot);
      bases.delete(slot);
    };
    await done;
  }

  /** Close the database; it opens again when it is used. */
  async close(): Promise<void> {
    const { opened } = this;
    this.opened = null;
    (await opened?.catch(() => null))?.close();
  }

  private async begin(mode: IDBTransactionMode): Promise<{
    readonly rows: IDBObjectStore;
    readonly bases: IDBObjectStore;
    readonly done: Promise<void>;
  }> {
    const database = await this.database();
    // On disk, not only with the operating system: a seq that was sent must not be forgotten.
    const transaction = database.transaction([ROWS, BASES], mode, { durability: "strict" });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("storage failed"));
    });
    return { rows: transaction.objectStore(ROWS), bases: transaction.objectStore(BASES), done };
  }

  private database(): Promise<IDBDatabase> {
    this.opened ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = this.factory.open(this.name, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(ROWS, { keyPath: "slot" });
        request.result.createObjectStore(BASES);
      };
      request.onsuccess = () => {
        const database = request.result;
        const forget = (): void => {
          this.opened = null;
        };
        database.onclose = forget;
        database.onversionchange = () => {
          forget();
          database.close();
        };
        resolve(database);
      };
      request.onerror = () => reject(request.error ?? new Error("storage failed"));
    });
    this.opened.catch(() => {
      this.opened = null;
    });
    return this.opened;
  }
}

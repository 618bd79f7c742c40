/** What a replica asks its shell to send, and what it reports of its calls. */
import type { StrettoError } from "./errors.js";
import type { Operation } from "./operation.js";
import type { Entry, OpenAnswer, Payload, Role } from "./protocol.js";
import type { Change } from "./units.js";

/** What the shell sends next. An answer that comes for an older connection is ignored. */
export interface ReplicaRequest {
  readonly event: "open" | "fetch" | "submit";
  readonly payload: Payload;
  readonly connection: number;
}

/** Why the text changed. */
export type Origin = "local" | "remote" | "refused" | "replaced";

/** What came of a call. */
export type Effect =
  | {
      readonly kind: "changed";
      readonly origin: Origin;
      readonly op: Operation;
      readonly changes: readonly Change[];
      /** Whose entry it was, where it was one. */
      readonly user: string | undefined;
    }
  /** `entry` is part of the confirmed text now; `own` is ours, come back. */
  | {
      readonly kind: "applied";
      readonly version: number;
      readonly entry: Entry;
      readonly own: boolean;
    }
  | { readonly kind: "opened"; readonly answer: OpenAnswer }
  /**
   * Text of the user's that the application must not lose. After `refused` it is what the
   * operation inserted, which is no longer in the document. After `replaced` it is the whole
   * text as it was shown before another history took over.
   */
  | {
      readonly kind: "returned";
      readonly origin: "refused" | "replaced";
      readonly text: string;
      readonly error: StrettoError | undefined;
    }
  | { readonly kind: "role"; readonly role: Role }
  /** The document cannot be used any more; `text` is what was shown, if part was unsent. */
  | { readonly kind: "closed"; readonly error: StrettoError; readonly text: string };

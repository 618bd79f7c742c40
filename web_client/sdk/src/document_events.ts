/** What a document reports. */
import type { Origin } from "./effects.js";
import type { StrettoError } from "./errors.js";
import type { Operation } from "./operation.js";
import type { Entry, Member, Range, Role } from "./protocol.js";
import type { Change } from "./units.js";

/**
 * `saved`: the journal has everything. `saving`: it will in a moment. `offline`: the document
 * is not open on a connection; edits are kept and delivered once it is.
 */
export type Status = "saved" | "saving" | "offline";

/** A change of the text, as `changes` in UTF-16 units of the text before and as `op`. */
export interface TextChange {
  readonly origin: Origin;
  readonly op: Operation;
  readonly changes: readonly Change[];
  /** The id of the user whose change it was, for a remote one. */
  readonly user: string | undefined;
}

/** Where somebody else is, in UTF-16 units of the text shown. */
export interface RemoteCursor {
  readonly member: Member;
  readonly ranges: readonly Range[];
}

/**
 * Text of the user's that could not stay in the document. After `refused` it is what the edit
 * had inserted; after `replaced` it is the whole text as it was shown before.
 */
export interface Returned {
  readonly origin: "refused" | "replaced";
  readonly text: string;
  readonly error: StrettoError | undefined;
}

/** What a LiveDocument reports. */
export interface DocumentEvents {
  change: TextChange;
  status: Status;
  /** Who is here, oneself included. */
  presence: readonly Member[];
  /** Where the others are. */
  cursors: readonly RemoteCursor[];
  role: Role;
  /** An operation of ours is in the journal. */
  confirmed: { readonly version: number; readonly entry: Entry };
  returned: Returned;
  /** The document cannot be used any more; `text` is set where edits were unsent. */
  closed: { readonly error: StrettoError; readonly text: string };
}

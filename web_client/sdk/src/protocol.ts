/** The names and payloads of the wire contract, as `docs/protocol.md` gives them. */
import type { Operation } from "./operation.js";

export const PROTOCOL_VERSION = 1;

export const SESSION = "/";
export const DOCS = "/docs";
export const ROOMS = "/rooms";

/** A namespace of the server. */
export type Namespace = typeof SESSION | typeof DOCS | typeof ROOMS;

/** Events that the server sends. */
export const ServerEvent = {
  READY: "ready",
  TOKEN_EXPIRED: "token_expired",
  SHUTDOWN: "shutdown",
  REFUSED: "refused",
  OPS: "ops",
  BEHIND: "behind",
  RESET: "reset",
  ROLE: "role",
  CLOSED: "closed",
  PRESENCE: "presence",
} as const;

/** Events that the SDK sends. */
export const ClientEvent = {
  REFRESH_TOKEN: "refresh_token",
  OPEN: "open",
  SUBMIT: "submit",
  FETCH: "fetch",
  CLOSE: "close",
  CURSOR: "cursor",
} as const;

/** The history hash of version 0. */
export const NO_HASH = "0".repeat(16);

/** A JSON object, as every event carries one. */
export type Payload = Record<string, unknown>;

/** What one person or program may do with a document. */
export type Role = "viewer" | "editor" | "owner";

/** Who somebody is; `color` is `#rrggbb`. */
export interface User {
  readonly id: string;
  readonly name: string;
  readonly color: string;
}

/** One `[anchor, head]` pair in code points. */
export type Range = readonly [anchor: number, head: number];

/** One replica's presence in a document; `ranges` count in the text at `version`. */
export interface Member {
  readonly id: string;
  readonly user: User;
  readonly ranges?: readonly Range[] | null;
  readonly version?: number;
}

/** One committed operation. Its version is its place in the log. */
export interface Entry {
  readonly client: string;
  readonly seq: number;
  readonly op: Operation;
  readonly user: string;
  readonly at_ms: number;
}

/** Where a replica stands in a history. */
export interface Since {
  readonly epoch: string;
  readonly version: number;
  readonly hash: string;
}

/** What a server accepts: the part that the SDK acts upon. */
export interface Limits {
  readonly op_components: number;
  readonly op_inserted: number;
  readonly cursor_ranges: number;
  readonly cursors_per_s: number;
}

export const DEFAULT_LIMITS: Limits = {
  op_components: 10_000,
  op_inserted: 256 * 1024,
  cursor_ranges: 100,
  cursors_per_s: 30,
};

/** An operation is sent in parts no larger than this as JSON. */
export const OP_BYTES = 512 * 1024;

export interface Ready {
  readonly session_id: string;
  readonly user: User;
  readonly protocol: number;
  readonly node: string;
  readonly server_time_ms: number;
  readonly token_ttl_s: number;
  readonly limits: Limits;
}

export interface Shutdown {
  readonly reason: string;
  readonly reconnect_after_ms: number;
}

export interface OpenAnswer extends Since {
  readonly doc: string;
  readonly type: string;
  readonly member_id: string;
  readonly last_seq: number;
  readonly role: Role;
  readonly members: readonly Member[];
  readonly fenced?: { readonly last_seq: number };
  readonly ops?: readonly Entry[];
  readonly content?: string;
  readonly reset?: boolean;
}

export interface OpsFrame {
  readonly doc: string;
  readonly epoch: string;
  readonly from: number;
  readonly ops: readonly Entry[];
  readonly hash: string;
}

export interface FetchAnswer {
  readonly from: number;
  readonly ops: readonly Entry[];
  readonly hash: string;
  readonly version: number;
}

export interface Presence {
  readonly doc: string;
  readonly joined: readonly Member[];
  readonly left: readonly string[];
  readonly updated: readonly Member[];
}

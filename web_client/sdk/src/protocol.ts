/** The names and payloads of the wire contract, as `docs/protocol.md` gives them. */
import type { Operation } from "./operation.js";
import type { Events, FindRooms, FoundRoom, LimitsObject, Requests } from "./protocol.gen.js";

export { DEFAULT_LIMITS, PROTOCOL_VERSION } from "./protocol.gen.js";
export type { FoundRoom, Requests };

export const SESSION = "/";
export const DOCS = "/docs";
export const ROOMS = "/rooms";

/** A namespace of the server. */
export type Namespace = typeof SESSION | typeof DOCS | typeof ROOMS;

type NamesOf<T> = { [N in keyof T]: keyof T[N] }[keyof T];

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
  MESSAGE: "message",
  STATE: "state",
  METADATA: "metadata",
} as const satisfies Record<string, NamesOf<Events>>;

/** Events that the SDK sends. */
export const ClientEvent = {
  REFRESH_TOKEN: "refresh_token",
  OPEN: "open",
  SUBMIT: "submit",
  FETCH: "fetch",
  CLOSE: "close",
  CURSOR: "cursor",
  JOIN: "join",
  LEAVE: "leave",
  SEND: "send",
  SET_STATE: "set_state",
  SET_STATUS: "set_status",
  SET_METADATA: "set_metadata",
  FIND: "find",
} as const satisfies Record<string, NamesOf<Requests>>;

/** The history hash of version 0. */
export const NO_HASH = "0".repeat(16);

/** A JSON object, as every event carries one. */
export type Payload = Record<string, unknown>;

/** What one may do with a document or room, each more than the one before. */
export const ROLES = ["viewer", "editor", "owner"] as const;

/** What one person or program may do with a document or room. */
export type Role = (typeof ROLES)[number];

/** Who somebody is; `color` is `#rrggbb`. */
export interface User {
  readonly id: string;
  readonly name: string;
  readonly color: string;
}

/** One `[anchor, head]` pair in code points. */
export type Range = readonly [anchor: number, head: number];

/**
 * One presence in a document or room. `ranges` count in the document's text at `version`;
 * `status` is what a room's member set, absent where it set none.
 */
export interface Member {
  readonly id: string;
  readonly user: User;
  readonly ranges?: readonly Range[] | null;
  readonly version?: number;
  readonly status?: unknown;
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
export type Limits = Pick<
  LimitsObject,
  "op_components" | "op_inserted" | "cursor_ranges" | "cursors_per_s"
>;

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
  readonly floor?: number;
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
  readonly joined: readonly Member[];
  readonly left: readonly string[];
  readonly updated: readonly Member[];
}

/** What a room is found by, and how many it takes. Applications may add keys of their own. */
export interface RoomMetadata {
  readonly name?: string;
  readonly max_members?: number;
  readonly private?: boolean;
  readonly tags?: readonly string[];
}

export interface JoinAnswer {
  readonly room: string;
  readonly member_id: string;
  readonly members: readonly Member[];
  readonly state: Record<string, unknown>;
  readonly revision: number;
  readonly metadata: Record<string, unknown>;
}

/** A message of a room's member; `at_ms` is the server's clock. */
export interface RoomMessage {
  readonly room: string;
  readonly event: string;
  readonly data: unknown;
  readonly from: { readonly id: string; readonly user: User };
  readonly at_ms: number;
}

/** A change of a room's state: `null` removes a key. `by` is null where nobody knows who. */
export interface StateChange {
  readonly room: string;
  readonly revision: number;
  readonly changes: Record<string, unknown>;
  readonly by: RoomMessage["from"] | null;
}

/** What `find` asks for: rooms that satisfy all that is given. */
export type RoomQuery = FindRooms;

/** The names of a namespace's requests. */
export type RequestEvent<N extends Namespace> = keyof Requests[N] & string;

/** What goes with a request. */
export type RequestPayload<
  N extends Namespace,
  E extends RequestEvent<N>,
> = Requests[N][E] extends { request: infer Sent } ? Sent : never;

/** What answers a request. */
export type RequestAnswer<N extends Namespace, E extends RequestEvent<N>> = Requests[N][E] extends {
  answer: infer Answer;
}
  ? Answer
  : never;

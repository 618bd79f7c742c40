/**
 * Reading what a server sends: known fields of the right types, copied; anything else throws.
 *
 * Nothing of a payload goes further without passing here, so a hostile or broken server can
 * neither bring a value of a wrong type into the state machines nor pollute a prototype.
 */
import { ERROR_CODES, errorFromPayload, isRecord, StrettoError } from "./errors.js";
import { check, normalize, type Operation } from "./operation.js";
import {
  DEFAULT_LIMITS,
  type Entry,
  type FetchAnswer,
  type JoinAnswer,
  type Limits,
  type Member,
  type OpenAnswer,
  type OpsFrame,
  type Presence,
  type Range,
  type Ready,
  ROLES,
  type Role,
  type RoomMessage,
  type Shutdown,
  type StateChange,
  type User,
} from "./protocol.js";

/** A remote object by its keys. It inherits nothing, so every key is one like any other. */
export type Values = Record<string, unknown>;

const HASH = /^[0-9a-f]{16}$/;
/** Nobody is sent away for longer, whatever the server says. */
const LONGEST_ABSENCE_MS = 5 * 60_000;

function unreadable(what: string): StrettoError {
  return new StrettoError("internal_error", `cannot read ${what} of the server`);
}

function record(value: unknown, what: string): Values {
  if (!isRecord(value)) throw unreadable(what);
  return value;
}

function own(values: Values, key: string): unknown {
  return Object.hasOwn(values, key) ? values[key] : undefined;
}

function list(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw unreadable(what);
  return value as unknown[];
}

function text(values: Values, key: string): string {
  const value = own(values, key);
  if (typeof value !== "string") throw unreadable(key);
  return value;
}

function whole(values: Values, key: string, least = 0): number {
  const value = own(values, key);
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) {
    throw unreadable(key);
  }
  return value;
}

function hash(values: Values): string {
  const value = text(values, "hash");
  if (!HASH.test(value)) throw unreadable("hash");
  return value;
}

function role(values: Values): Role {
  const found = ROLES.find((known) => known === own(values, "role"));
  if (found === undefined) throw unreadable("role");
  return found;
}

/** Return a copy of `value` that inherits nothing; throws where it is no object. */
export function readValues(value: unknown): Values {
  return Object.assign(Object.create(null) as Values, record(value, "an object"));
}

function user(value: unknown): User {
  const values = record(value, "user");
  return { id: text(values, "id"), name: text(values, "name"), color: text(values, "color") };
}

/** Return the `{id, user}` of a sender. */
function sender(value: unknown): RoomMessage["from"] {
  const values = record(value, "from");
  return { id: text(values, "id"), user: user(own(values, "user")) };
}

function range(value: unknown): Range {
  const [anchor, head, ...more] = list(value, "range");
  for (const point of [anchor, head]) {
    if (!Number.isSafeInteger(point) || (point as number) < 0) throw unreadable("range");
  }
  if (more.length > 0) throw unreadable("range");
  return [anchor as number, head as number];
}

function member(value: unknown): Member {
  const values = record(value, "member");
  const read: { -readonly [K in keyof Member]: Member[K] } = {
    id: text(values, "id"),
    user: user(own(values, "user")),
  };
  const ranges = own(values, "ranges");
  if (ranges === null) read.ranges = null;
  else if (ranges !== undefined) read.ranges = list(ranges, "ranges").map(range);
  const version = own(values, "version");
  if (version !== undefined && version !== null) read.version = whole(values, "version");
  if (Object.hasOwn(values, "status")) read.status = values["status"];
  return read;
}

function members(value: unknown): readonly Member[] {
  return list(value, "members").map(member);
}

function canonical(value: unknown): Operation {
  try {
    check(value);
    const op = normalize(value);
    if (op.length === value.length) return op;
  } catch {
    // Below it is reported as what it is: not the user's fault.
  }
  throw unreadable("an operation");
}

function entry(value: unknown): Entry {
  const values = record(value, "an entry");
  return {
    client: text(values, "client"),
    seq: whole(values, "seq", 1),
    op: canonical(own(values, "op")),
    user: text(values, "user"),
    at_ms: Number(own(values, "at_ms")) || 0,
  };
}

function entries(value: unknown): readonly Entry[] {
  return list(value, "ops").map(entry);
}

export function readOpenAnswer(payload: Values): OpenAnswer {
  const answer = {
    doc: text(payload, "doc"),
    type: text(payload, "type"),
    epoch: text(payload, "epoch"),
    version: whole(payload, "version"),
    hash: hash(payload),
    member_id: text(payload, "member_id"),
    last_seq: whole(payload, "last_seq"),
    role: role(payload),
    members: members(own(payload, "members")),
  };
  if (answer.type !== "text" || answer.epoch === "") throw unreadable("the document");
  const fenced = own(payload, "fenced");
  const fence =
    fenced === undefined
      ? {}
      : { fenced: { last_seq: whole(record(fenced, "fenced"), "last_seq") } };
  if (!Object.hasOwn(payload, "content")) {
    return { ...answer, ...fence, ops: entries(own(payload, "ops")) };
  }
  const content = text(payload, "content");
  check([content]);
  const floor = Object.hasOwn(payload, "floor") ? { floor: whole(payload, "floor") } : {};
  return { ...answer, ...fence, content, reset: own(payload, "reset") === true, ...floor };
}

export function readFetchAnswer(payload: Values): FetchAnswer {
  return {
    from: whole(payload, "from", 1),
    ops: entries(own(payload, "ops")),
    hash: hash(payload),
    version: whole(payload, "version"),
  };
}

export function readOps(payload: Values): OpsFrame {
  const ops = entries(own(payload, "ops"));
  if (ops.length === 0) throw unreadable("ops");
  return {
    doc: text(payload, "doc"),
    epoch: text(payload, "epoch"),
    from: whole(payload, "from", 1),
    ops,
    hash: hash(payload),
  };
}

/** Return the version that a `submit` took, or that a `behind` tells of. */
export function readVersion(payload: Values): number {
  return whole(payload, "version");
}

export function readRole(payload: Values): Role {
  return role(payload);
}

/** Return the error of a `closed` event, which ends a document or room for good. */
export function readClosed(payload: Values): StrettoError {
  const error = record(own(payload, "error"), "error");
  if (!ERROR_CODES.some((code) => code === own(error, "code"))) throw unreadable("error");
  return errorFromPayload(error);
}

export function readPresence(payload: Values): Presence {
  return {
    joined: members(own(payload, "joined")),
    left: list(own(payload, "left"), "left").map((id) => {
      if (typeof id !== "string") throw unreadable("left");
      return id;
    }),
    updated: members(own(payload, "updated")),
  };
}

export function readReady(payload: Values): Ready {
  const ttl = own(payload, "token_ttl_s");
  return {
    session_id: text(payload, "session_id"),
    user: user(own(payload, "user")),
    protocol: Number(own(payload, "protocol")),
    node: String(own(payload, "node")),
    server_time_ms: Number(own(payload, "server_time_ms")),
    token_ttl_s: readTtl(ttl),
    limits: readLimits(own(payload, "limits")),
  };
}

/** Return how long a token lives, in seconds; 0 where that cannot be read. */
export function readTtl(value: unknown): number {
  return typeof value === "number" && value > 0 ? value : 0;
}

/** Return the limits that we act upon; what is missing or no limit is what it is by default. */
function readLimits(value: unknown): Limits {
  const told: Values = isRecord(value) ? value : {};
  const limit = (key: keyof Limits): number => {
    const found = own(told, key);
    const usable = typeof found === "number" && Number.isSafeInteger(found) && found > 0;
    return usable ? found : DEFAULT_LIMITS[key];
  };
  return {
    op_components: limit("op_components"),
    op_inserted: limit("op_inserted"),
    cursor_ranges: limit("cursor_ranges"),
    cursors_per_s: limit("cursors_per_s"),
  };
}

export function readShutdown(payload: Values): Shutdown {
  const asked = Number(own(payload, "reconnect_after_ms"));
  return {
    reason: String(own(payload, "reason") ?? ""),
    reconnect_after_ms: asked > 0 ? Math.min(asked, LONGEST_ABSENCE_MS) : 0,
  };
}

export function readJoinAnswer(payload: Values): JoinAnswer {
  return {
    room: text(payload, "room"),
    member_id: text(payload, "member_id"),
    members: members(own(payload, "members")),
    state: readValues(own(payload, "state")),
    revision: whole(payload, "revision"),
    metadata: readValues(own(payload, "metadata")),
  };
}

export function readMessage(payload: Values): RoomMessage {
  return {
    room: text(payload, "room"),
    event: text(payload, "event"),
    data: own(payload, "data"),
    from: sender(own(payload, "from")),
    at_ms: Number(own(payload, "at_ms")) || 0,
  };
}

export function readState(payload: Values): StateChange {
  const by = own(payload, "by");
  return {
    room: text(payload, "room"),
    revision: whole(payload, "revision", 1),
    changes: readValues(own(payload, "changes")),
    by: by === undefined || by === null ? null : sender(by),
  };
}

export function readMetadata(payload: Values): Values {
  return readValues(own(payload, "metadata"));
}

export function readRevision(payload: Values): number {
  return whole(payload, "revision", 1);
}

/**
 * A client's copy of a room, fed with answers and events in their order of arrival. Pure.
 *
 * An application learns of an answer a little later than of the events behind it. So what
 * arrives while a `join` is under way is kept and applied to its snapshot, and a revision that
 * seems to be skipped may be that of an own change whose answer is still to be taken: only
 * without such a change is it lost (`mustJoin`).
 */
import {
  readJoinAnswer,
  readMetadata,
  readPresence,
  readState,
  readValues,
  type Values,
} from "./payloads.js";
import { type JoinAnswer, type Member, ServerEvent, type StateChange } from "./protocol.js";

/** Something that became of a room by others. */
export type RoomChange =
  | { readonly kind: "member_joined" | "member_left" | "member_updated"; readonly member: Member }
  | { readonly kind: "state"; readonly change: StateChange }
  | { readonly kind: "metadata"; readonly metadata: Values };

const COPIED: ReadonlySet<string> = new Set([
  ServerEvent.PRESENCE,
  ServerEvent.STATE,
  ServerEvent.METADATA,
]);

/** What waits for the revisions before it. */
interface Waiting {
  readonly change: StateChange;
  readonly own: boolean;
}

/** One client's copy of one room. Its keys are remote: nothing here has a prototype. */
export class RoomReplica {
  memberId: string | null = null;
  members: ReadonlyMap<string, Member> = new Map();
  state: Values = readValues({});
  revision = 0;
  metadata: Values = readValues({});

  private known = false;
  private kept: (() => RoomChange[])[] | null = [];
  private readonly ahead = new Map<number, Waiting>();
  private writes = 0;
  private writingMetadata = 0;
  private doubtful = false;

  constructor(readonly room: string) {}

  /** Whether only another `join` can tell what the room holds now. */
  get mustJoin(): boolean {
    if (this.kept !== null) return false;
    return this.doubtful || (this.ahead.size > 0 && this.writes === 0);
  }

  /** Expect a snapshot: a `join` is about to be sent. */
  joining(): void {
    this.kept = [];
    this.ahead.clear();
    this.doubtful = false;
  }

  /** Take the answer to a `join`; return how it differs from what was known before. */
  joined(payload: Values): RoomChange[] {
    const answer = readJoinAnswer(payload);
    const kept = this.kept ?? [];
    this.kept = null;
    const members = new Map(answer.members.map((member) => [member.id, member]));
    const changes = this.known ? this.differences(answer, members) : [];
    this.known = true;
    this.memberId = answer.member_id;
    this.members = members;
    this.state = answer.state;
    this.revision = answer.revision;
    this.metadata = answer.metadata;
    return [...changes, ...kept.flatMap((take) => take())];
  }

  /** Take an event of the server; return what changed by it. Others change nothing. */
  receive(event: string, payload: Values): RoomChange[] {
    if (!COPIED.has(event)) return [];
    const take = this.reading(event, payload);
    if (event === ServerEvent.METADATA && this.writingMetadata > 0) this.doubtful = true;
    if (this.kept === null) return take();
    this.kept.push(take);
    return [];
  }

  /** Expect the answer to an own change; `written`, `described` or `notWritten` follows. */
  writing(metadata = false): void {
    this.writes += 1;
    this.writingMetadata += Number(metadata);
  }

  /** Take the answer to an own `set_state`; return what waited for it. */
  written(revision: number, changes: Values): RoomChange[] {
    this.writes -= 1;
    const own = { room: this.room, revision, changes: readValues(changes), by: null };
    const take = (): RoomChange[] => this.take({ change: own, own: true });
    if (this.kept === null) return take();
    this.kept.push(take);
    return [];
  }

  /**
   * Take the answer to an own `set_metadata`. Metadata has no revision, so where others changed
   * it meanwhile, nobody here can tell whose change came last: `mustJoin` says so.
   */
  described(metadata: Values): void {
    this.writes -= 1;
    this.writingMetadata -= 1;
    this.metadata = readValues(metadata);
  }

  /** Expect that answer no more; `unknown` when the change may have been made. */
  notWritten(metadata: boolean, unknown: boolean): void {
    this.writes -= 1;
    this.writingMetadata -= Number(metadata);
    this.doubtful ||= unknown;
  }

  /** Read an event now, and return what takes it. */
  private reading(event: string, payload: Values): () => RoomChange[] {
    if (event === ServerEvent.PRESENCE) {
      const diff = readPresence(payload);
      return () => this.presence(diff.joined, diff.left, diff.updated);
    }
    if (event === ServerEvent.METADATA) {
      const metadata = readMetadata(payload);
      return () => this.describe(metadata);
    }
    const change = readState(payload);
    return () => this.take({ change, own: false });
  }

  /** Return the changes from what is known to a snapshot, oneself left out. */
  private differences(answer: JoinAnswer, members: ReadonlyMap<string, Member>): RoomChange[] {
    const changes: RoomChange[] = [];
    const isOwn = (id: string): boolean => id === this.memberId || id === answer.member_id;
    for (const [id, member] of this.members) {
      if (!members.has(id) && !isOwn(id)) changes.push({ kind: "member_left", member });
    }
    for (const [id, member] of members) {
      const before = this.members.get(id);
      if (isOwn(id) || isEqual(before, member)) continue;
      changes.push({ kind: before === undefined ? "member_joined" : "member_updated", member });
    }
    const { room } = this;
    const state = stateDifference(this.state, answer.state);
    if (Object.keys(state).length > 0) {
      const change = { room, revision: answer.revision, changes: state, by: null };
      changes.push({ kind: "state", change });
    }
    if (!isEqual(answer.metadata, this.metadata)) {
      changes.push({ kind: "metadata", metadata: answer.metadata });
    }
    return changes;
  }

  private presence(
    joined: readonly Member[],
    left: readonly string[],
    updated: readonly Member[],
  ): RoomChange[] {
    const changes: RoomChange[] = [];
    const members = new Map(this.members);
    for (const id of left) {
      const member = members.get(id);
      members.delete(id);
      if (member !== undefined && id !== this.memberId) {
        changes.push({ kind: "member_left", member });
      }
    }
    for (const member of [...joined, ...updated]) {
      const before = members.get(member.id);
      members.set(member.id, member);
      if (member.id === this.memberId || isEqual(before, member)) continue;
      changes.push({ kind: before === undefined ? "member_joined" : "member_updated", member });
    }
    this.members = members;
    return changes;
  }

  private take(waiting: Waiting): RoomChange[] {
    this.ahead.set(waiting.change.revision, waiting);
    return this.catchUp();
  }

  /** Apply what comes next, in the order of revisions. */
  private catchUp(): RoomChange[] {
    const changes: RoomChange[] = [];
    for (const revision of [...this.ahead.keys()].sort((a, b) => a - b)) {
      if (revision > this.revision + 1) break;
      const { change, own } = this.ahead.get(revision) as Waiting;
      this.ahead.delete(revision);
      if (revision <= this.revision) continue; // in the snapshot already
      this.revision = revision;
      this.state = stateAfter(this.state, change.changes);
      if (!own) changes.push({ kind: "state", change });
    }
    return changes;
  }

  private describe(metadata: Values): RoomChange[] {
    if (isEqual(metadata, this.metadata)) return [];
    this.metadata = metadata;
    return [{ kind: "metadata", metadata }];
  }
}

/** Return `state` after `changes`, where null removes a key. */
export function stateAfter(state: Values, changes: Values): Values {
  const after = readValues(state);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete after[key];
    else after[key] = value;
  }
  return after;
}

/** Return the `changes` that lead from one state to another; null removes. */
export function stateDifference(before: Values, after: Values): Values {
  const changes = readValues({});
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) changes[key] = null;
  for (const [key, value] of Object.entries(after)) {
    if (!Object.hasOwn(before, key) || !isEqual(before[key], value)) changes[key] = value;
  }
  return changes;
}

/** Tell whether two JSON values are the same; binary data is the same only as itself. */
export function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((item, index) => isEqual(item, b[index]))
    );
  }
  if (ArrayBuffer.isView(a) || a instanceof ArrayBuffer) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && isEqual((a as Values)[key], (b as Values)[key]))
  );
}

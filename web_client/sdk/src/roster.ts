/** Who is in a document, and where: a snapshot, diffs, and ranges carried along. */
import type { Operation } from "./operation.js";
import { mapPosition } from "./position.js";
import type { Entry, Member, Presence, Range } from "./protocol.js";

/** Entries kept to carry ranges that were sent for an older version. */
const KEPT_ENTRIES = 500;

/** The members of one document. Ranges count in code points. */
export class Roster {
  private readonly members = new Map<string, Member>();
  /** The entries up to `version`, the newest last. */
  private recent: Entry[] = [];
  private version = 0;

  /** Take the snapshot that an `open` answers; its ranges count at `version`. */
  opened(members: readonly Member[], version: number): void {
    this.members.clear();
    this.recent = [];
    this.version = version;
    for (const member of members) this.members.set(member.id, { version, ...member });
  }

  /** Take a diff. */
  presence(diff: Presence): void {
    for (const id of diff.left) this.members.delete(id);
    for (const member of [...diff.joined, ...diff.updated]) {
      this.members.set(member.id, this.caughtUp(member));
    }
  }

  /** Carry all ranges over the entry that made `version`. */
  applied(version: number, entry: Entry): void {
    this.version = version;
    this.recent.push(entry);
    if (this.recent.length > KEPT_ENTRIES) this.recent.shift();
    for (const [id, member] of this.members) {
      if (member.version === version - 1) this.members.set(id, carried(member, entry));
    }
  }

  /** All members, oneself included, in order of joining. */
  list(): readonly Member[] {
    return [...this.members.values()];
  }

  /**
   * Return the ranges of everyone but `self` in the text shown, which is the confirmed one
   * after `pending`. Ranges of a version that is not here yet are left out until it is.
   */
  cursors(self: string, pending: readonly Operation[]): readonly Member[] {
    return this.list()
      .filter(({ id, ranges, version }) => id !== self && !!ranges && version === this.version)
      .map((member) => pending.reduce((moved, op) => mapped(moved, op, -1), member));
  }

  /** Return `member` with its ranges at our version, if it is one that we still know. */
  private caughtUp(member: Member): Member {
    const behind = this.version - (member.version ?? this.version);
    if (behind <= 0) return { version: this.version, ...member };
    const missed = this.recent.slice(-behind);
    if (missed.length < behind) return { ...member, version: this.version };
    return missed.reduce((moved, entry) => carried(moved, entry), member);
  }
}

function carried(member: Member, entry: Entry): Member {
  const moved = mapped(member, entry.op, entry.user === member.user.id ? 1 : -1);
  return { ...moved, version: (member.version ?? 0) + 1 };
}

function mapped(member: Member, op: Operation, bias: -1 | 1): Member {
  if (!member.ranges) return member;
  const move = ([anchor, head]: Range): Range => [
    mapPosition(anchor, op, bias),
    mapPosition(head, op, bias),
  ];
  return { ...member, ranges: member.ranges.map(move) };
}

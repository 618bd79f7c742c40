/** One open document: the replica with its connection. */
import { backoff } from "./backoff.js";
import { asStrettoError, errorFromPayload, StrettoError } from "./errors.js";
import { Emitter } from "./events.js";
import type { Operation } from "./operation.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  DOCS,
  type Entry,
  type Limits,
  type Member,
  type Payload,
  type Presence,
  type Range,
  type Role,
  ServerEvent,
} from "./protocol.js";
import { type Effect, type Origin, Replica, type ReplicaRequest } from "./replica.js";
import { Roster } from "./roster.js";
import { type Change, mapUnit } from "./units.js";

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

/** What a LiveDocument reports. */
export interface DocumentEvents {
  change: TextChange;
  status: Status;
  members: readonly Member[];
  cursors: readonly RemoteCursor[];
  role: Role;
  /** An edit was refused and taken back; `text` is what it had inserted. */
  refused: { readonly error: StrettoError; readonly text: string };
  /** The document has another history now; `text` is what was shown until then. */
  replaced: { readonly text: string };
  /** The document cannot be used any more; `text` is set where edits were unsent. */
  closed: { readonly error: StrettoError; readonly text: string };
}

/** What a document needs of its client. */
export interface DocumentHost {
  request(namespace: typeof DOCS, event: string, payload: Payload): Promise<Payload>;
  random(): number;
  newClientId(): string;
  /** Called after each remote change. */
  updated(doc: string, version: number, entry: Entry): void;
  /** Called once the document is no longer in use. */
  forget(doc: string): void;
}

/** An acknowledged operation whose entry does not come within this time is fetched. */
const ENTRY_OVERDUE_MS = 5_000;
/** Cursors are sent at most this often. */
const CURSOR_INTERVAL_MS = 60;

/** A document that is kept equal to the authority's while it can be edited at any time. */
export class LiveDocument extends Emitter<DocumentEvents> {
  private readonly replica: Replica;
  private readonly roster = new Roster();
  private connected = false;
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private readonly overdue = new Set<ReturnType<typeof setTimeout>>();
  private lastStatus: Status = "offline";
  /** Where we are, carried along with the text, and whether the others know. */
  private selection: readonly Range[] | null = null;
  private selectionSent = true;
  private cursorsMoved = false;
  private cursorRanges = DEFAULT_LIMITS.cursor_ranges;
  private cursorTimer: ReturnType<typeof setTimeout> | null = null;
  private waiting: { edits: number; resolve: () => void; reject: (e: StrettoError) => void }[] = [];
  private opening: { resolve: () => void; reject: (error: StrettoError) => void } | null = null;
  /** Resolves once the document was opened for the first time. */
  readonly opened: Promise<void>;

  constructor(
    readonly id: string,
    private readonly host: DocumentHost,
  ) {
    super();
    this.replica = new Replica(id, () => host.newClientId());
    this.opened = new Promise((resolve, reject) => {
      this.opening = { resolve, reject };
    });
    this.opened.catch(() => undefined); // whoever opened it is told
  }

  /** The text shown, unconfirmed edits included. */
  get text(): string {
    return this.replica.text.toString();
  }

  /** The version of the document that this replica has reached. */
  get version(): number {
    return this.replica.version;
  }

  get role(): Role {
    return this.replica.role;
  }

  /** Our own member id, new after each reconnection. */
  get memberId(): string {
    return this.replica.memberId;
  }

  /** Everyone who is here, oneself included. */
  get members(): readonly Member[] {
    return this.roster.list();
  }

  get status(): Status {
    if (!this.connected || !this.replica.isOpen) return "offline";
    return this.replica.isSaved ? "saved" : "saving";
  }

  /** Whether the document cannot be used any more. */
  get isClosed(): boolean {
    return this.replica.closed !== null;
  }

  /** How many edits the journal does not have yet. */
  get unsent(): number {
    const { made, settled } = this.replica.counts;
    return made - settled;
  }

  /** Where the others are. */
  get cursors(): readonly RemoteCursor[] {
    const { text, pending, memberId } = this.replica;
    return this.roster.cursors(memberId, pending).map((member) => ({
      member,
      ranges: (member.ranges ?? []).map(([anchor, head]) => [
        text.toUnits(anchor),
        text.toUnits(head),
      ]),
    }));
  }

  // Edits. Positions and lengths are those of JavaScript strings; `apply` alone takes an
  // operation, in code points. All throw a StrettoError where the edit cannot be made.

  insert(position: number, text: string): void {
    this.applyChanges([{ from: position, to: position, insert: text }]);
  }

  delete(position: number, length: number): void {
    this.applyChanges([{ from: position, to: position + length, insert: "" }]);
  }

  replace(position: number, length: number, text: string): void {
    this.applyChanges([{ from: position, to: position + length, insert: text }]);
  }

  /** Move `length` units at `position` to where `to` is once they are taken out. */
  move(position: number, length: number, to: number): void {
    const text = this.text.slice(position, position + length);
    const cut = { from: position, to: position + length, insert: "" };
    const target = to > position ? to + length : to;
    const paste = { from: target, to: target, insert: text };
    if (to === position) return;
    this.applyChanges(to > position ? [cut, paste] : [paste, cut]);
  }

  /** Apply replacements, ascending and disjoint, in UTF-16 units of the text shown. */
  applyChanges(changes: readonly Change[]): void {
    this.apply(this.replica.text.operation(changes));
  }

  /** Apply an operation, in code points, to the text shown. */
  apply(op: Operation): void {
    this.perform(this.replica.edit(op));
    this.pump();
  }

  /** Tell the others where we are, in UTF-16 units; null takes the cursor away. */
  setSelection(ranges: readonly Range[] | null): void {
    // Everyone carries our ranges over our own edits, so typing tells nothing new.
    if (sameRanges(ranges, this.selection)) return;
    this.selection = ranges;
    this.selectionSent = false;
    this.scheduleCursor();
  }

  /** Resolve once the journal has every edit made so far; reject when it will not. */
  saved(): Promise<void> {
    const { made, settled } = this.replica.counts;
    if (this.replica.closed !== null) return Promise.reject(this.replica.closed);
    if (settled >= made) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.waiting.push({ edits: made, resolve, reject });
    });
  }

  /** Leave the document. Edits that are not saved yet are given up: await `saved()` first. */
  close(): void {
    if (this.replica.closed !== null) return;
    if (this.connected && this.replica.isOpen) {
      this.host.request(DOCS, ClientEvent.CLOSE, { doc: this.id }).catch(() => undefined);
    }
    this.perform(this.replica.close(new StrettoError("not_joined", "the document was closed")));
  }

  // What the client calls.

  /** @internal */
  connect(limits: Limits): void {
    this.replica.limits = limits;
    this.cursorRanges = limits.cursor_ranges;
    this.connected = true;
    this.attempt = 0;
    this.pump();
  }

  /** @internal */
  disconnect(): void {
    this.connected = false;
    this.stopTimers();
    this.replica.disconnected();
    this.report();
  }

  /** @internal */
  received(event: string, payload: Payload): void {
    if (event === ServerEvent.PRESENCE) {
      if (!this.replica.isOpen) return;
      this.roster.presence(payload as unknown as Presence);
      this.emit("members", this.members);
      this.emit("cursors", this.cursors);
    } else if (event === ServerEvent.CLOSED) {
      this.perform(this.replica.close(errorFromPayload(payload["error"])));
    } else {
      this.perform(this.replica.received(event, payload));
      this.pump();
    }
  }

  /** @internal The token was renewed: what waited for it may go out. */
  refreshed(): void {
    this.replica.resend();
    this.pump();
  }

  /** Send whatever the replica has to send. */
  private pump(): void {
    if (!this.connected || this.retry !== null) return;
    for (;;) {
      const request = this.replica.nextRequest();
      if (request === null) break;
      this.send(request);
    }
    this.report();
  }

  private send(request: ReplicaRequest): void {
    this.host.request(DOCS, request.event, request.payload).then(
      (answer) => {
        if (request.event !== ClientEvent.OPEN) this.attempt = 0;
        this.perform(this.replica.answered(request, answer));
        if (request.event === ClientEvent.SUBMIT) this.expectEntry(Number(answer["version"]));
        this.pump();
      },
      (reason) => this.failed(request, asStrettoError(reason)),
    );
  }

  private failed(request: ReplicaRequest, error: StrettoError): void {
    this.perform(this.replica.failed(request, error));
    if (!this.connected || this.replica.closed !== null) return;
    // What an operation's refusal leads to starts at once, unless it leads there repeatedly.
    const atOnce = request.event === ClientEvent.SUBMIT && !isUnknown(error) && this.attempt === 0;
    const delay = atOnce ? 0 : backoff(this.attempt, this.host.random()) / 4;
    this.attempt += 1;
    this.pause((error.retryAfterMs ?? 0) + delay);
  }

  /** Send nothing for a while. */
  private pause(delayMs: number): void {
    if (this.retry !== null) clearTimeout(this.retry);
    this.retry = setTimeout(() => {
      this.retry = null;
      this.pump();
    }, delayMs);
    this.report();
  }

  /** The entry of an acknowledged operation should be here; if not, fetch it in a while. */
  private expectEntry(version: number): void {
    if (version <= this.replica.version) return;
    const timer = setTimeout(() => {
      this.overdue.delete(timer);
      this.replica.behind(version);
      this.pump();
    }, ENTRY_OVERDUE_MS);
    this.overdue.add(timer);
  }

  private perform(effects: readonly Effect[]): void {
    for (const effect of effects) this.performOne(effect);
    if (this.cursorsMoved) {
      this.cursorsMoved = false;
      this.emit("cursors", this.cursors);
    }
    if (effects.length > 0) this.report();
  }

  private performOne(effect: Effect): void {
    switch (effect.kind) {
      case "changed":
        this.carrySelection(effect);
        this.emit("change", effect);
        break;
      case "applied":
        this.roster.applied(effect.version, effect.entry);
        this.host.updated(this.id, effect.version, effect.entry);
        this.cursorsMoved = true;
        break;
      case "opened":
        this.roster.opened(effect.answer.members, effect.answer.version);
        this.opening?.resolve();
        this.emit("members", this.members);
        this.cursorsMoved = true;
        // The member that we are now is not known to be anywhere.
        this.selectionSent = this.selection === null;
        break;
      case "role":
        this.emit("role", effect.role);
        break;
      case "refused":
        this.settleWaiting(effect.error);
        this.emit("refused", effect);
        break;
      case "replaced":
        this.emit("replaced", effect);
        break;
      case "closed":
        this.over(effect.error, effect.text);
        break;
    }
  }

  private over(error: StrettoError, text: string): void {
    this.stopTimers();
    this.host.forget(this.id);
    this.settleWaiting(error);
    for (const { reject } of this.waiting.splice(0)) reject(error);
    this.opening?.reject(error);
    this.emit("closed", { error, text });
  }

  /** Settle the promises of `saved()` whose edits are settled: with `error`, if any. */
  private settleWaiting(error?: StrettoError): void {
    const { settled } = this.replica.counts;
    const due = this.waiting.filter(({ edits }) => edits <= settled);
    this.waiting = this.waiting.filter(({ edits }) => edits > settled);
    for (const { resolve, reject } of due) {
      if (error === undefined) resolve();
      else reject(error);
    }
  }

  private report(): void {
    this.settleWaiting();
    this.scheduleCursor();
    const status = this.status;
    if (status === this.lastStatus) return;
    this.lastStatus = status;
    this.emit("status", status);
  }

  // Cursors go out once everything is confirmed: they count in the text at a version.

  private carrySelection({ origin, changes }: TextChange): void {
    const bias = origin === "local" ? 1 : -1;
    const carry = (unit: number): number => mapUnit(unit, changes, bias);
    this.selection =
      this.selection?.map(([anchor, head]) => [carry(anchor), carry(head)] as const) ?? null;
  }

  private scheduleCursor(): void {
    if (this.cursorTimer !== null || this.selectionSent || !this.replica.isSaved) return;
    this.cursorTimer = setTimeout(() => {
      this.cursorTimer = null;
      this.sendCursor();
    }, CURSOR_INTERVAL_MS);
  }

  private sendCursor(): void {
    const { text, version, isSaved } = this.replica;
    if (this.selectionSent || this.status === "offline" || !isSaved) return;
    const ranges = this.selection
      ?.slice(0, this.cursorRanges)
      .map(([anchor, head]) => [text.toPoints(anchor), text.toPoints(head)]);
    const payload = { doc: this.id, version, ranges: ranges ?? null };
    this.host.request(DOCS, ClientEvent.CURSOR, payload).catch(() => undefined);
    this.selectionSent = true;
  }

  private stopTimers(): void {
    for (const timer of [this.retry, this.cursorTimer, ...this.overdue]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.retry = this.cursorTimer = null;
    this.overdue.clear();
  }
}

function sameRanges(a: readonly Range[] | null, b: readonly Range[] | null): boolean {
  if (a === null || b === null || a.length !== b.length) return a === b;
  return a.every(([anchor, head], i) => anchor === b[i]?.[0] && head === b[i]?.[1]);
}

/** Tell whether what became of a request is unknown, or it was too early. */
function isUnknown(error: StrettoError): boolean {
  return error.retryable || error.code === "internal_error";
}

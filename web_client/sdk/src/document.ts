/** One open document: its replica with the connection and with what is kept of it. */
import { repeatDelay } from "./backoff.js";
import type { DocumentEvents, RemoteCursor, Returned, Status } from "./document_events.js";
import { buildOperation, type Edit } from "./edits.js";
import type { Effect, ReplicaRequest } from "./effects.js";
import { asStrettoError, StrettoError } from "./errors.js";
import { Emitter } from "./events.js";
import type { Lane } from "./keep.js";
import type { Operation } from "./operation.js";
import { readClosed, readPresence, readVersion } from "./payloads.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  DOCS,
  type Entry,
  type Limits,
  type Member,
  type Payload,
  type Range,
  type Role,
  ServerEvent,
} from "./protocol.js";
import type { Replica } from "./replica.js";
import { Roster } from "./roster.js";
import { OwnSelection } from "./selection.js";
import type { Change } from "./units.js";

/** What a document needs of its client. */
export interface DocumentHost {
  request(
    namespace: typeof DOCS,
    event: ReplicaRequest["event"] | "close" | "cursor",
    payload: Payload,
  ): Promise<Payload>;
  random(): number;
  /** Called when the server no longer takes our token. */
  tokenRefused(): void;
  /** Called after each remote change. */
  updated(doc: string, version: number, entry: Entry): void;
  /** Called once the document is no longer in use. */
  forget(document: LiveDocument): void;
}

/** An acknowledged operation whose entry does not come within this time is fetched. */
const ENTRY_OVERDUE_MS = 5_000;
/** The errors after which a request is not simply sent again. */
const AT_ONCE: ReadonlySet<string> = new Set(["token_expired", "internal_error"]);

/** A document that is kept equal to the authority's while it can be edited at any time. */
export class LiveDocument extends Emitter<DocumentEvents> {
  private readonly roster = new Roster();
  private readonly selection: OwnSelection;
  private limits: Limits = DEFAULT_LIMITS;
  private connected = false;
  /** Counts connections: nothing that was prepared for one goes out on another. */
  private connection = 0;
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private readonly overdue = new Set<ReturnType<typeof setTimeout>>();
  private lastStatus: Status = "offline";
  private cursorsMoved = false;
  private returns: Returned[] = [];
  private waiting: { edits: number; resolve: () => void; reject: (e: StrettoError) => void }[] = [];
  private opening: { resolve: () => void; reject: (error: StrettoError) => void } | null = null;
  /** Resolves once the text is known; rejects with what closed the document before. */
  readonly opened: Promise<void>;

  /**
   * Made by {@link RealtimeClient.open}. `leftovers` are what closed tabs left unsent: they are
   * delivered one after the other, each under its own client, before this tab's is opened.
   */
  constructor(
    readonly id: string,
    private readonly host: DocumentHost,
    private readonly main: Lane,
    private leftovers: Lane[] = [],
  ) {
    super();
    this.selection = new OwnSelection(
      {
        maySend: () => this.status !== "offline" && this.replica.isSaved,
        send: (ranges) => this.sendCursor(ranges),
        get text() {
          return main.replica.text;
        },
      },
      DEFAULT_LIMITS.cursor_ranges,
    );
    this.opened = this.replica.known
      ? Promise.resolve()
      : new Promise((resolve, reject) => {
          this.opening = { resolve, reject };
        });
    this.opened.catch(() => undefined); // whoever opened it is told
    for (const lane of [main, ...leftovers]) this.watchKeep(lane);
  }

  /** The text shown, unconfirmed edits included. */
  get text(): string {
    return this.replica.text.toString();
  }

  /** The length of `text`, without making it. */
  get length(): number {
    return this.replica.text.units;
  }

  /** The version of the document that this replica has reached. */
  get version(): number {
    return this.replica.version;
  }

  /** The history hash at `version`: whoever has the same one has the same history. */
  get hash(): string {
    return this.replica.hash;
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
    if (!this.connected || this.isClosed) return "offline";
    if (this.leftovers.length > 0) return "saving";
    if (!this.replica.isOpen) return "offline";
    return this.replica.isSaved ? "saved" : "saving";
  }

  /** Whether the document cannot be used any more. */
  get isClosed(): boolean {
    return this.replica.closed !== null;
  }

  /** What closed the document; null while it can be used. */
  get closedBy(): StrettoError | null {
    return this.replica.closed;
  }

  /** How many edits the journal does not have yet. */
  get unsent(): number {
    return [this.main, ...this.leftovers].reduce((sum, { replica }) => {
      const { made, settled } = replica.counts;
      return sum + made - settled;
    }, 0);
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

  // Edits. Positions and lengths are those of JavaScript strings; `apply` and `edit` alone
  // count code points. All throw a StrettoError where the edit cannot be made.

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
    if (to === position) return;
    const text = this.replica.text.slice(position, position + length);
    const cut = { from: position, to: position + length, insert: "" };
    const target = to > position ? to + length : to;
    const paste = { from: target, to: target, insert: text };
    this.applyChanges(to > position ? [cut, paste] : [paste, cut]);
  }

  /** Apply replacements, ascending and disjoint, in UTF-16 units of the text shown. */
  applyChanges(changes: readonly Change[]): void {
    this.apply(this.replica.text.operation(changes));
  }

  /** Apply an operation, in code points, to the text shown. */
  apply(op: Operation): void {
    this.perform(this.main, this.replica.edit(op));
    this.pump();
  }

  /** Make an edit in code points, as `sendOperation` does; resolve with the version once saved. */
  async edit(edit: Edit): Promise<number> {
    this.apply(buildOperation(this.replica, edit));
    await this.saved();
    return this.version;
  }

  /** Tell the others where we are, in UTF-16 units; null takes the cursor away. */
  setSelection(ranges: readonly Range[] | null): void {
    this.selection.set(ranges);
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

  /** Return what was given back while nobody listened to `returned`, and forget it. */
  takeReturned(): readonly Returned[] {
    return this.returns.splice(0);
  }

  /**
   * Leave the document. Await `saved()` first: what is not saved yet is given up, or, where the
   * client persists, kept for whoever opens the document next.
   */
  close(): void {
    if (this.isClosed) return;
    if (this.connected && this.replica.isOpen) {
      this.host.request(DOCS, ClientEvent.CLOSE, { doc: this.id }).catch(() => undefined);
    }
    const error = new StrettoError("not_joined", "the document was closed");
    this.perform(this.main, this.replica.close(error));
  }

  // What the client calls.

  /** @internal */
  connect(limits: Limits): void {
    this.limits = limits;
    this.selection.most = limits.cursor_ranges;
    this.connected = true;
    this.attempt = 0;
    this.pump();
  }

  /** @internal */
  disconnect(): void {
    this.connected = false;
    this.connection += 1;
    this.stopTimers();
    this.active.replica.disconnected();
    this.report();
  }

  /** @internal Deliver what other tabs left meanwhile. */
  takeOver(lanes: readonly Lane[]): void {
    if (lanes.length === 0) return;
    this.active.replica.disconnected();
    for (const lane of lanes) this.watchKeep(lane);
    this.leftovers.push(...lanes);
    this.pump();
  }

  /** @internal */
  received(event: string, payload: Payload): void {
    const lane = this.active;
    try {
      if (event === ServerEvent.PRESENCE) this.presence(payload);
      else if (event === ServerEvent.CLOSED) this.ended(readClosed(payload));
      else this.perform(lane, lane.replica.received(event, payload));
    } catch (reason) {
      // Opening with `since` brings what it would have told.
      lane.replica.disconnected();
      this.pauseAfter(asStrettoError(reason));
    }
    this.pump();
  }

  /** @internal The token was renewed: what waited for it may go out. */
  refreshed(): void {
    this.active.replica.resend();
    this.pump();
  }

  /** @internal The client gave up. */
  ended(error: StrettoError): void {
    this.perform(this.main, this.replica.close(error));
  }

  /** @internal Wait until what is kept is kept, and let others take over. */
  async released(): Promise<void> {
    await Promise.all([this.main, ...this.leftovers].map(({ keep }) => keep?.release()));
  }

  /** This tab's replica: the one that is shown. */
  private get replica(): Replica {
    return this.main.replica;
  }

  /** The replica whose turn it is on the connection. */
  private get active(): Lane {
    return this.leftovers[0] ?? this.main;
  }

  private watchKeep({ keep }: Lane): void {
    if (keep === null) return;
    keep.onLost = () => {
      this.ended(new StrettoError("not_joined", "another tab goes on with this document"));
    };
  }

  /** Send whatever the replica has to send. */
  private pump(): void {
    while (this.connected && this.retry === null && !this.isClosed) {
      const lane = this.active;
      lane.replica.limits = this.limits;
      const request = lane.replica.nextRequest();
      if (request === null) break;
      void this.send(lane, request);
    }
    this.report();
  }

  private async send(lane: Lane, request: ReplicaRequest): Promise<void> {
    const { connection } = this;
    let answer: Payload;
    try {
      if (lane.keep !== null && request.event !== ClientEvent.FETCH) {
        lane.keep.changed();
        await lane.keep.stored(); // before it leaves: a seq never means two operations
        if (connection !== this.connection) return;
      }
      answer = await this.host.request(DOCS, request.event, request.payload);
      if (request.event !== ClientEvent.OPEN) this.attempt = 0;
      this.perform(lane, lane.replica.answered(request, answer));
      if (request.event === ClientEvent.SUBMIT) this.expectEntry(lane, readVersion(answer));
    } catch (reason) {
      const error = asStrettoError(reason);
      this.perform(lane, lane.replica.failed(request, error));
      if (connection === this.connection) this.pauseAfter(error);
    }
    this.pump();
  }

  /** Do not send again at once what was just refused for a while. */
  private pauseAfter(error: StrettoError): void {
    if (!this.connected || this.isClosed) return;
    if (error.code === "token_expired") this.host.tokenRefused();
    const passes = error.retryable || AT_ONCE.has(error.code);
    // What a refusal leads to starts at once, unless it leads there again and again.
    if (passes || this.attempt > 2) {
      const delay = repeatDelay(this.attempt, this.host.random(), error.retryAfterMs);
      if (this.retry !== null) clearTimeout(this.retry);
      this.retry = setTimeout(() => {
        this.retry = null;
        this.pump();
      }, delay);
    }
    this.attempt += 1;
  }

  /** The entry of an acknowledged operation should be here; if not, fetch it in a while. */
  private expectEntry({ replica }: Lane, version: number): void {
    if (version <= replica.version) return;
    const timer = setTimeout(() => {
      this.overdue.delete(timer);
      replica.behind(version);
      this.pump();
    }, ENTRY_OVERDUE_MS);
    this.overdue.add(timer);
  }

  private presence(payload: Payload): void {
    const diff = readPresence(payload);
    if (!this.replica.isOpen) return;
    this.roster.presence(diff);
    this.emitPresence();
    this.emit("cursors", this.cursors);
  }

  private emitPresence(): void {
    this.emit("presence", this.members);
  }

  // Effects.

  private perform(lane: Lane, effects: readonly Effect[]): void {
    lane.keep?.note(effects);
    if (lane !== this.main) {
      this.performLeftover(lane, effects);
      return;
    }
    for (const effect of effects) this.performOne(effect);
    if (this.cursorsMoved) {
      this.cursorsMoved = false;
      this.emit("cursors", this.cursors);
    }
    if (effects.length > 0) this.report();
  }

  /** Of what another tab left, only what could not be delivered is this tab's business. */
  private performLeftover(lane: Lane, effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "returned") this.giveBack(effect);
    }
    // One that may not be delivered stays where it is kept, and in `client.unsent()`.
    if (!lane.replica.isSaved && lane.replica.closed === null) return;
    this.leftovers = this.leftovers.filter((other) => other !== lane);
    void lane.keep?.release();
  }

  private performOne(effect: Effect): void {
    switch (effect.kind) {
      case "changed":
        this.selection.carry(effect.changes, effect.origin);
        this.emit("change", effect);
        break;
      case "applied":
        this.roster.applied(effect.version, effect.entry);
        this.cursorsMoved = true;
        if (effect.own) this.emit("confirmed", effect);
        else this.host.updated(this.id, effect.version, effect.entry);
        break;
      case "opened":
        this.roster.opened(effect.answer.members, effect.answer.version);
        this.selection.reopened();
        this.opening?.resolve();
        this.emitPresence();
        this.cursorsMoved = true;
        break;
      case "role":
        this.emit("role", effect.role);
        break;
      case "returned":
        if (effect.error !== undefined) this.settleWaiting(effect.error);
        this.giveBack(effect);
        break;
      case "closed":
        this.over(effect.error, effect.text);
        break;
    }
  }

  private giveBack({ origin, text, error }: Returned): void {
    const returned = { origin, text, error };
    if (!this.hasListeners("returned")) this.returns.push(returned);
    this.emit("returned", returned);
  }

  private over(error: StrettoError, text: string): void {
    this.stopTimers();
    this.host.forget(this);
    void this.released();
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
    this.selection.schedule();
    const { status } = this;
    if (status === this.lastStatus) return;
    this.lastStatus = status;
    this.emit("status", status);
  }

  private sendCursor(ranges: readonly Range[] | null): void {
    const payload = { doc: this.id, version: this.version, ranges };
    this.host.request(DOCS, ClientEvent.CURSOR, payload).catch(() => undefined);
  }

  private stopTimers(): void {
    this.selection.stop();
    for (const timer of [this.retry, ...this.overdue]) if (timer !== null) clearTimeout(timer);
    this.retry = null;
    this.overdue.clear();
  }
}

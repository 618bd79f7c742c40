/**
 * A document's client side as a state machine, without I/O, time or chance.
 *
 * The text shown is the confirmed text (the authority's at `version`), then the operation in
 * flight (sent under a fixed seq), then the buffer (composed, not yet sent).
 *
 * The shell calls `edit` for what the user does, `received` for what the server sends,
 * `disconnected` when the connection is lost; and it sends what `nextRequest` returns, one
 * request after the other, handing each outcome to `answered` or `failed`. All of them report
 * what came of it as effects. What cannot be read throws `internal_error` and changes nothing.
 */
import { difference } from "./difference.js";
import type { Effect, Origin, ReplicaRequest } from "./effects.js";
import { StrettoError } from "./errors.js";
import { nextHash } from "./history.js";
import { inputLength, insertedText, normalize, type Operation } from "./operation.js";
import {
  readFetchAnswer,
  readOpenAnswer,
  readOps,
  readRole,
  readVersion,
  type Values,
} from "./payloads.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  type Entry,
  type OpenAnswer,
  type OpsFrame,
  type Payload,
  type Role,
  ServerEvent,
} from "./protocol.js";
import type { OperationLimits } from "./split.js";
import { transform } from "./transform.js";
import { type InFlight, Unconfirmed } from "./unconfirmed.js";
import { DocumentText } from "./units.js";

/** Frames kept over a gap; what exceeds them is fetched. */
const HELD_FRAMES = 64;
/** Entries kept for positions that count at an older version. */
const HELD_ENTRIES = 2_000;
/** A hash that continues no history. */
const NO_HISTORY = "f".repeat(16);

/** Codes after which the operation took no seq and is taken back. */
const REFUSED: ReadonlySet<string> = new Set([
  "invalid_operation",
  "too_large",
  "invalid_request",
  "forbidden",
]);
/** Codes that say: this is not the history you knew. */
const REPLACED: ReadonlySet<string> = new Set([
  "epoch_changed",
  "version_gone",
  "version_ahead",
  "sequence_gap",
]);
/** Codes that are not retryable, and yet worth opening again. */
const PASSING: ReadonlySet<string> = new Set(["internal_error", "token_expired", "not_joined"]);

/** Everything that another tab needs to go on, but for the text that `version` has. */
export interface ReplicaState {
  readonly doc: string;
  readonly client: string;
  readonly seq: number;
  readonly fence: string | null;
  /** Absent in what earlier releases stored. */
  readonly replaced?: boolean;
  readonly epoch: string;
  readonly version: number;
  readonly hash: string;
  readonly role: Role;
  readonly inFlight: { readonly seq: number; readonly op: Operation } | null;
  readonly buffer: Operation;
}

/** One tab's copy of one document. */
export class Replica {
  limits: OperationLimits = DEFAULT_LIMITS;
  role: Role = "viewer";
  memberId = "";
  /** Set once the document cannot be used any more. */
  closed: StrettoError | null = null;

  private client: string;
  private history = "";
  private reached = 0;
  private hashReached = "";
  private confirmedText = DocumentText.EMPTY;
  private shown = DocumentText.EMPTY;
  private readonly unconfirmed = new Unconfirmed();
  /** The highest version known to exist. */
  private head = 0;
  private held: OpsFrame[] = [];
  /** The last entries, the newest at the end. */
  private recent: Entry[] = [];
  /** The client whose operations must not commit any more. */
  private fence: string | null = null;
  /** Whether the history that we knew was found to be gone before the fence was answered. */
  private wasReplaced = false;
  /** What refused the operation in flight, while an earlier sending of it may commit yet. */
  private refusal: StrettoError | null = null;
  /** Counts connections, so that late answers are recognised. */
  private connection = 0;
  private link: "closed" | "opening" | "open" = "closed";
  private fetching = false;
  private submitted: ReplicaRequest | null = null;
  private tokenExpired = false;

  /** `newClient` makes random client ids. */
  constructor(
    readonly doc: string,
    private readonly newClient: () => string,
  ) {
    this.client = newClient();
  }

  /** The text shown, unconfirmed edits included. */
  get text(): DocumentText {
    return this.shown;
  }

  /** The authority's text at `version`. */
  get confirmed(): DocumentText {
    return this.confirmedText;
  }

  /** The version that `confirmed` has. */
  get version(): number {
    return this.reached;
  }

  /** The history hash at `version`. */
  get hash(): string {
    return this.hashReached;
  }

  get epoch(): string {
    return this.history;
  }

  /** Whether the document was opened at least once. */
  get known(): boolean {
    return this.history !== "";
  }

  /** Whether the document is open on the connection at hand. */
  get isOpen(): boolean {
    return this.link === "open" && this.closed === null;
  }

  /** Whether everything that the user did is in the journal. */
  get isSaved(): boolean {
    return this.unconfirmed.isEmpty && this.fence === null;
  }

  /** Whether nothing is known to be missing. */
  get isCurrent(): boolean {
    return !this.fetching && this.version >= this.head && this.held.length === 0;
  }

  /** How many edits were made, and how many of them are settled. */
  get counts(): { readonly made: number; readonly settled: number } {
    return { made: this.unconfirmed.made, settled: this.unconfirmed.settled };
  }

  /** The unconfirmed operations, in order: what positions at `version` are mapped over. */
  get pending(): readonly Operation[] {
    return this.unconfirmed.ops;
  }

  /** Apply the user's `op` to the text shown. Throws when it does not fit, or must not be. */
  edit(op: Operation): Effect[] {
    if (this.closed !== null) throw this.closed;
    if (!this.known) throw new StrettoError("not_joined", "the document is not open yet");
    if (this.role === "viewer") throw new StrettoError("forbidden", "you may only read this");
    const changed = this.show(op, "local");
    if (changed.length > 0) this.unconfirmed.add(op);
    return changed;
  }

  /**
   * Return `op`, whose positions count at `version`, as it applies to the text shown. None, or
   * a version newer than the replica's, means now. Throws `version_gone` when the replica no
   * longer holds that version.
   */
  carried(op: Operation, version: number | undefined): Operation {
    let carried = normalize(op);
    if (version === undefined || version > this.version) return carried;
    const missing = this.version - version;
    if (missing > this.recent.length) {
      throw new StrettoError("version_gone", "this replica no longer holds that version");
    }
    for (const entry of this.recent.slice(this.recent.length - missing)) {
      carried = transform(carried, entry.op, "left");
    }
    for (const pending of this.pending) carried = transform(carried, pending, "left");
    return carried;
  }

  /** Return what to send now, or null while there is nothing, or an answer is awaited. */
  nextRequest(): ReplicaRequest | null {
    if (this.closed !== null || this.link === "opening") return null;
    if (this.link === "closed") return this.open();
    if (this.fetching) return null;
    if (!this.isCurrent) return this.fetch();
    return this.submitted === null ? this.submit() : null;
  }

  /** Take the answer to a request. */
  answered(request: ReplicaRequest, answer: Values): Effect[] {
    if (this.isStale(request)) return [];
    if (request.event === "open") return this.opened(readOpenAnswer(answer));
    if (request.event === "fetch") return this.fetched(answer);
    // Acknowledged: durable. What confirms it to the replica is its own entry in the stream.
    return [];
  }

  /** Take the error of a request. The shell waits before it polls again where it should. */
  failed(request: ReplicaRequest, error: StrettoError): Effect[] {
    if (this.isStale(request)) return [];
    if (request.event === "submit") return this.submitFailed(error);
    if (request.event === "open") {
      this.reopen();
      return error.retryable || PASSING.has(error.code) ? [] : this.close(error);
    }
    if (error.retryable) {
      this.fetching = false;
      this.behind(this.version + 1);
    } else {
      this.reopen(); // whatever is wrong with the log, opening with `since` finds out
    }
    return [];
  }

  /** Take an event of this document; unknown ones are ignored. */
  received(event: string, payload: Values): Effect[] {
    if (this.closed !== null) return [];
    // Before the answer to `open`, which has what these would tell, they mean nothing.
    const inStream = event === ServerEvent.OPS || event === ServerEvent.BEHIND;
    if (inStream && this.link !== "open") return [];
    switch (event) {
      case ServerEvent.OPS:
        return this.framed(readOps(payload));
      case ServerEvent.BEHIND:
        this.behind(readVersion(payload));
        return [];
      case ServerEvent.RESET:
        this.seeEpoch(payload["epoch"]);
        this.reopen();
        return [];
      case ServerEvent.ROLE:
        this.role = readRole(payload);
        return [{ kind: "role", role: this.role }];
      default:
        return [];
    }
  }

  /** Take note that `version` exists; it is fetched if it does not come by itself. */
  behind(version: number): void {
    if (version > this.head) this.head = version;
  }

  /** Forget what belonged to the connection. Unconfirmed operations stay. */
  disconnected(): void {
    this.reopen();
  }

  /** Let what was refused because the token had expired be sent again: it is renewed. */
  resend(): void {
    if (!this.tokenExpired) return;
    this.tokenExpired = false;
    this.submitted = null;
  }

  /** Give the document up. Returns the unsent text with the effect. */
  close(error: StrettoError): Effect[] {
    if (this.closed !== null) return [];
    this.closed = error;
    const text = this.isSaved ? "" : this.shown.toString();
    return [{ kind: "closed", error, text }];
  }

  /**
   * Return everything that another tab needs to go on. To be stored in one step: a copy that
   * mixes two moments could use a seq twice.
   */
  state(): ReplicaState {
    const { doc, client, fence, epoch, version, hash, role } = this;
    const { seq, inFlight, buffer } = this.unconfirmed;
    const flying = inFlight === null ? null : { seq: inFlight.seq, op: inFlight.op };
    const replaced = this.wasReplaced;
    return {
      ...{ doc, client, seq, fence, replaced, epoch, version, hash, role },
      ...{ inFlight: flying, buffer },
    };
  }

  /**
   * Return the replica that `state` describes, whose confirmed text is `base` after `since`; no
   * other may go on from it. Where another could, `fenced` keeps it from committing anything.
   */
  static restore(
    state: ReplicaState,
    base: string,
    since: readonly Operation[],
    newClient: () => string,
    fenced: boolean,
  ): Replica {
    const replica = new Replica(state.doc, newClient);
    replica.client = state.client;
    replica.fence = state.fence;
    replica.wasReplaced = state.replaced ?? false;
    replica.history = state.epoch;
    replica.reached = replica.head = state.version;
    replica.hashReached = state.hash;
    replica.role = state.role;
    replica.confirmedText = since.reduce((text, op) => text.apply(op), DocumentText.of(base));
    replica.shown = replica.confirmedText;
    const flying = state.inFlight;
    const inFlight = flying === null ? null : { seq: flying.seq, op: normalize(flying.op) };
    replica.unconfirmed.restore(state.seq, inFlight, normalize(state.buffer));
    for (const op of replica.pending) replica.shown = replica.shown.apply(op);
    if (fenced) replica.raiseFence();
    return replica;
  }

  // Requests.

  private open(): ReplicaRequest {
    this.link = "opening";
    const payload: Payload = { doc: this.doc, client: this.client, type: "text" };
    const { epoch, version, hash } = this;
    if (this.fence !== null) payload["fence"] = this.fence;
    else if (this.known) payload["since"] = { epoch, version, hash };
    return this.request(ClientEvent.OPEN, payload);
  }

  private fetch(): ReplicaRequest {
    this.fetching = true;
    this.head = this.version; // the answer tells it anew
    const payload = { doc: this.doc, epoch: this.epoch, from: this.version + 1 };
    return this.request(ClientEvent.FETCH, payload);
  }

  private submit(): ReplicaRequest | null {
    this.unconfirmed.takeOff(this.limits);
    const { inFlight } = this.unconfirmed;
    if (inFlight === null) return null;
    if (this.unconfirmed.isOutgrown(this.limits)) {
      this.raiseFence(); // under a new client it may be split
      return this.open();
    }
    const { seq, op } = inFlight;
    const { doc, client, epoch, version: base } = this;
    this.submitted = this.request(ClientEvent.SUBMIT, { doc, epoch, client, seq, base, op });
    return this.submitted;
  }

  private request(event: ReplicaRequest["event"], payload: Payload): ReplicaRequest {
    return { event, payload, connection: this.connection };
  }

  private isStale(request: ReplicaRequest): boolean {
    if (this.closed !== null || request.connection !== this.connection) return true;
    return request.event === "submit" && request !== this.submitted;
  }

  /** Open again: with `since`, or behind a fence. */
  private reopen(): void {
    this.connection += 1;
    this.link = "closed";
    this.fetching = false;
    this.submitted = null;
    this.tokenExpired = false;
    this.held = [];
    this.unconfirmed.doubt();
  }

  // Answers.

  private opened(answer: OpenAnswer): Effect[] {
    this.link = "open";
    this.memberId = answer.member_id;
    this.role = answer.role;
    const opened: Effect = { kind: "opened", answer };
    if (answer.content === undefined) {
      this.wasReplaced = false;
      const ops = answer.ops ?? [];
      this.head = answer.version;
      // Where the page stops short, the hash is that of the head, not of its last entry.
      const whole = this.version + ops.length === answer.version;
      return [opened, ...this.take(this.version + 1, ops, whole ? answer.hash : null)];
    }
    if (this.fence !== null) return [...this.refounded(answer, answer.content), opened];
    if (this.isSaved) return [...this.founded(answer, answer.content), opened];
    // Before the unsent text moves over, nothing of the old client may commit any more. By
    // then the history may have grown past what we know, and show nothing of its loss.
    this.wasReplaced = this.isReplacedBy(answer);
    this.raiseFence();
    return [];
  }

  /** Start from the authority's text: at first, or when nothing was pending. */
  private founded(answer: OpenAnswer, content: string): Effect[] {
    const returned = this.returnedOf(answer);
    this.unconfirmed.seq = answer.last_seq;
    return [...this.adopt(answer, content), ...returned];
  }

  /** Carry what is unsent over to a history that replaced the one we knew. */
  private refounded(answer: OpenAnswer, content: string): Effect[] {
    const lastSeq = answer.fenced?.last_seq ?? 0;
    const { refusal } = this;
    const own = this.unconfirmed.inFlight;
    const effects =
      own !== null && own.seq > lastSeq && refusal !== null ? this.takeBack(own, refusal) : [];
    this.fence = this.refusal = null;
    const returned = this.returnedOf(answer);
    this.unconfirmed.carryOver(this.confirmedText.toString(), content, lastSeq);
    return [...effects, ...this.adopt(answer, content), ...returned];
  }

  /** Return the text shown where not all that was confirmed is in the history answered. */
  private returnedOf(answer: OpenAnswer): Effect[] {
    return this.isReplacedBy(answer) ? [returnedText(this.shown.toString())] : [];
  }

  /** Note that the history has another epoch, even should that be lost again. */
  private seeEpoch(epoch: unknown): void {
    if (typeof epoch === "string" && epoch !== this.epoch) this.wasReplaced = true;
  }

  private isReplacedBy(answer: OpenAnswer): boolean {
    if (!this.known) return false;
    if (this.wasReplaced) return true;
    if (this.epoch !== answer.epoch || this.version > answer.version) return true;
    // What is not below the floor could have been continued, were it of this history.
    const { floor } = answer;
    return floor !== undefined && this.version >= floor && this.hash !== NO_HISTORY;
  }

  /** Take over the text of another history, with what is unsent on top. */
  private adopt(answer: OpenAnswer, content: string): Effect[] {
    const before = this.shown.toString();
    this.history = answer.epoch;
    this.reached = this.head = answer.version;
    this.hashReached = answer.hash;
    this.wasReplaced = false;
    this.recent = [];
    this.confirmedText = DocumentText.of(content);
    const after = this.pending.reduce((text, op) => text.apply(op), this.confirmedText);
    return this.show(difference(before, after.toString()), "replaced");
  }

  private fetched(payload: Values): Effect[] {
    const answer = readFetchAnswer(payload);
    this.fetching = false;
    this.behind(answer.version);
    if (answer.ops.length === 0 && !this.isCurrent) {
      this.reopen(); // frames told of entries that the log does not have
      return [];
    }
    const effects = this.take(answer.from, answer.ops, answer.hash);
    return [...effects, ...this.release()];
  }

  private submitFailed(error: StrettoError): Effect[] {
    const own = this.unconfirmed.inFlight;
    if (error.code === "token_expired")
      this.tokenExpired = true; // resent after the refresh
    else if (error.code === "rate_limited")
      this.submitted = null; // it was not even looked at
    else if (REFUSED.has(error.code) && own !== null) return this.refused(own, error);
    else if (REPLACED.has(error.code)) {
      this.seeEpoch(error.details?.["epoch"]);
      this.raiseFence();
    } else this.reopen();
    return [];
  }

  private refused(own: InFlight, error: StrettoError): Effect[] {
    if (!own.unsure) return this.takeBack(own, error);
    // An earlier sending may commit yet, and this seq must not mean two things.
    this.refusal = error;
    this.raiseFence();
    return [];
  }

  /** Undo the operation in flight and give its text back. */
  private takeBack(own: InFlight, error: StrettoError): Effect[] {
    const undo = this.unconfirmed.takeBack(this.confirmedText.toString());
    this.submitted = null;
    const text = insertedText(own.op);
    const shown = this.show(undo, "refused");
    return [...shown, { kind: "returned", origin: "refused", text, error }];
  }

  private raiseFence(): void {
    // A fence that was not answered yet stands for the client whose operation is in flight;
    // the clients after it never sent anything.
    this.fence ??= this.client;
    this.client = this.newClient();
    this.reopen();
  }

  // The stream of entries: the only thing that moves the confirmed text.

  private framed(frame: OpsFrame): Effect[] {
    if (frame.epoch !== this.epoch) {
      this.seeEpoch(frame.epoch);
      this.reopen();
      return [];
    }
    if (frame.from > this.version + 1) {
      this.behind(frame.from + frame.ops.length - 1);
      if (this.held.length < HELD_FRAMES) this.held.push(frame);
      return [];
    }
    return [...this.take(frame.from, frame.ops, frame.hash), ...this.release()];
  }

  /** Apply the frames that were kept over a gap, as far as it is closed now. */
  private release(): Effect[] {
    const effects: Effect[] = [];
    this.held.sort((a, b) => a.from - b.from);
    for (let [next] = this.held; next && next.from <= this.version + 1; [next] = this.held) {
      this.held.shift();
      effects.push(...this.take(next.from, next.ops, next.hash));
    }
    return effects;
  }

  private take(from: number, ops: readonly Entry[], reached: string | null): Effect[] {
    const effects: Effect[] = [];
    for (const [index, entry] of ops.entries()) {
      if (from + index !== this.version + 1) continue;
      if (inputLength(entry.op) > this.confirmedText.points) return [...effects, ...this.astray()];
      effects.push(...this.advance(entry));
      if (this.link !== "open") return effects;
    }
    this.behind(this.version);
    const complete = ops.length > 0 && from + ops.length - 1 === this.version;
    if (complete && reached !== null && reached !== this.hash) effects.push(...this.astray());
    return effects;
  }

  /** What we have is not the authority's text: start over from its content. */
  private astray(): Effect[] {
    this.hashReached = NO_HISTORY;
    this.reopen();
    return [];
  }

  /** Take the next entry into the confirmed text, below what is pending. */
  private advance(entry: Entry): Effect[] {
    const own = this.unconfirmed.inFlight;
    const isOwn = own !== null && entry.client === this.client && entry.seq === own.seq;
    if (isOwn && sameOperation(own.op, entry.op)) {
      const applied = this.append(entry, true);
      this.unconfirmed.confirm();
      this.submitted = null;
      return [applied];
    }
    const effects: Effect[] = [];
    const usurped = entry.client === this.client && (isOwn || entry.seq > this.unconfirmed.seq);
    if (isOwn) {
      // What we meant by this seq will never commit.
      effects.push(returnedText(this.shown.toString()));
      const undo = this.unconfirmed.takeBack(this.confirmedText.toString());
      effects.push(...this.show(undo, "replaced"));
    }
    const applied = this.append(entry, false);
    const shown = this.unconfirmed.passBelow(entry.op);
    effects.push(...this.show(shown, "remote", entry.user), applied);
    // Another process goes on from our state: leave the client to it.
    if (usurped) this.raiseFence();
    return effects;
  }

  private append(entry: Entry, own: boolean): Effect {
    this.confirmedText = this.confirmedText.apply(entry.op);
    this.reached += 1;
    this.hashReached = nextHash(this.hash, entry);
    this.recent.push(entry);
    if (this.recent.length >= 2 * HELD_ENTRIES) this.recent = this.recent.slice(-HELD_ENTRIES);
    return { kind: "applied", version: this.version, entry, own };
  }

  private show(op: Operation, origin: Origin, user?: string): Effect[] {
    const changes = this.shown.changes(op);
    if (changes.length === 0) return [];
    this.shown = this.shown.replaced(changes);
    return [{ kind: "changed", origin, op, changes, user }];
  }
}

function returnedText(text: string): Effect {
  return { kind: "returned", origin: "replaced", text, error: undefined };
}

function sameOperation(a: Operation, b: Operation): boolean {
  return a.length === b.length && a.every((component, index) => component === b[index]);
}

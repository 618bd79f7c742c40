/**
 * A document's client side as a state machine, without I/O, time or chance.
 *
 * The text shown is `confirmed` (the authority's text at `version`), then the operation in
 * flight (sent, or about to be, under a fixed seq), then the buffer (composed, not yet sent).
 *
 * The shell calls `edit` for what the user does, `received` for what the server sends,
 * `disconnected` when the connection is lost; and it sends what `nextRequest` returns, one
 * request after the other, handing each outcome to `answered` or `failed`. All of them report
 * what came of it as effects.
 */
import { difference } from "./difference.js";
import { StrettoError } from "./errors.js";
import { insertedText, normalize, type Operation } from "./operation.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  type Entry,
  type FetchAnswer,
  type OpenAnswer,
  type OpsFrame,
  type Payload,
  type Role,
  ServerEvent,
  type Since,
} from "./protocol.js";
import { type OperationLimits, split } from "./split.js";
import { compose, invert, transform } from "./transform.js";
import { type Change, DocumentText } from "./units.js";

/** What the shell sends next. */
export interface ReplicaRequest {
  readonly event: "open" | "fetch" | "submit";
  readonly payload: Payload;
  /** Whatever was in the way of an answer that comes for an older connection is ignored. */
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
  | { readonly kind: "applied"; readonly version: number; readonly entry: Entry }
  | { readonly kind: "opened"; readonly answer: OpenAnswer }
  | { readonly kind: "refused"; readonly error: StrettoError; readonly text: string }
  | { readonly kind: "replaced"; readonly text: string }
  | { readonly kind: "role"; readonly role: Role }
  | { readonly kind: "closed"; readonly error: StrettoError; readonly text: string };

interface InFlight {
  readonly seq: number;
  readonly op: Operation;
  /** Which of the user's edits are settled with it. */
  readonly edits: number;
}

/** Frames kept over a gap; what exceeds them is fetched. */
const HELD_FRAMES = 64;

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

/** One tab's copy of one document. */
export class Replica {
  limits: OperationLimits = DEFAULT_LIMITS;
  role: Role = "viewer";
  memberId = "";
  /** Set once the document cannot be used any more. */
  closed: StrettoError | null = null;

  private client: string;
  private seq = 0;
  private history = "";
  private reached = 0;
  /** The last point whose hash is known: what an `open` can continue from. */
  private anchor: Since | null = null;
  private confirmed = DocumentText.EMPTY;
  private shown = DocumentText.EMPTY;
  private inFlight: InFlight | null = null;
  private buffer: Operation = [];
  /** The highest version known to exist. */
  private head = 0;
  private held: OpsFrame[] = [];
  /** The client whose operations must not commit any more. */
  private fence: string | null = null;
  /** Counts connections, so that late answers are recognised. */
  private connection = 0;
  private state: "closed" | "opening" | "open" = "closed";
  private fetching = false;
  private submitted = false;
  private edits = 0;
  private settledEdits = 0;

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

  /** The version that `confirmed` has. */
  get version(): number {
    return this.reached;
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
    return this.state === "open" && this.closed === null;
  }

  /** Whether everything that the user did is in the journal. */
  get isSaved(): boolean {
    return this.inFlight === null && this.buffer.length === 0 && this.fence === null;
  }

  /** How many edits were made, and how many of them are settled. */
  get counts(): { readonly made: number; readonly settled: number } {
    return { made: this.edits, settled: this.settledEdits };
  }

  /** The unconfirmed operations, in order: what positions at `version` are mapped over. */
  get pending(): readonly Operation[] {
    return this.inFlight === null ? [this.buffer] : [this.inFlight.op, this.buffer];
  }

  /** Apply the user's `op` to the text shown. Throws when it does not fit, or must not be. */
  edit(op: Operation): Effect[] {
    if (this.closed !== null) throw this.closed;
    if (!this.known) throw new StrettoError("not_joined", "the document is not open yet");
    if (this.role === "viewer") throw new StrettoError("forbidden", "you may only read this");
    const changed = this.show(normalize(op), "local");
    if (changed.length === 0) return changed;
    this.buffer = compose(this.buffer, op);
    this.edits += 1;
    this.settleEdits(0);
    return changed;
  }

  /** Return what to send now, or null while there is nothing, or nothing may be sent yet. */
  nextRequest(): ReplicaRequest | null {
    if (this.closed !== null || this.state === "opening") return null;
    if (this.state === "closed") return this.open();
    if (this.fetching) return null;
    if (this.version < this.head || this.held.length > 0) return this.fetch();
    return this.submitted ? null : this.submit();
  }

  /** Take the answer to a request. */
  answered(request: ReplicaRequest, answer: Payload): Effect[] {
    if (this.isStale(request)) return [];
    if (request.event === "open") return this.opened(answer as unknown as OpenAnswer);
    if (request.event === "fetch") return this.fetched(answer as unknown as FetchAnswer);
    // Acknowledged: durable. What confirms it to the replica is its own entry in the stream.
    return [];
  }

  /** Take the error of a request. */
  failed(request: ReplicaRequest, error: StrettoError): Effect[] {
    if (this.isStale(request)) return [];
    if (request.event === "submit") return this.submitFailed(error);
    if (request.event === "open") {
      this.state = "closed";
      return this.isPassing(error) ? [] : this.close(error);
    }
    // Whatever is wrong with the log, opening with `since` finds out.
    this.reopen();
    return [];
  }

  /** Take an event of this document. */
  received(event: string, payload: Payload): Effect[] {
    if (this.closed !== null) return [];
    switch (event) {
      case ServerEvent.OPS:
        return this.state === "open" ? this.framed(payload as unknown as OpsFrame) : [];
      case ServerEvent.BEHIND:
        this.behind(Number(payload["version"]));
        return [];
      case ServerEvent.RESET:
        this.reopen();
        return [];
      case ServerEvent.ROLE:
        this.role = payload["role"] as Role;
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

  /** Let the operation in flight be sent once more under its seq, as after a new token. */
  resend(): void {
    this.submitted = false;
  }

  /** Give the document up. Returns the unsent text with the effect. */
  close(error: StrettoError): Effect[] {
    if (this.closed !== null) return [];
    this.closed = error;
    const text = this.isSaved ? "" : this.shown.toString();
    return [{ kind: "closed", error, text }];
  }

  // Requests.

  private open(): ReplicaRequest {
    this.state = "opening";
    const payload: Payload = { doc: this.doc, client: this.client, type: "text" };
    if (this.fence !== null) payload["fence"] = this.fence;
    else if (this.anchor !== null) payload["since"] = { ...this.anchor };
    return this.request(ClientEvent.OPEN, payload);
  }

  private fetch(): ReplicaRequest {
    this.fetching = true;
    const payload = { doc: this.doc, epoch: this.epoch, from: this.version + 1 };
    return this.request(ClientEvent.FETCH, payload);
  }

  private submit(): ReplicaRequest | null {
    if (this.inFlight === null) this.takeOff();
    if (this.inFlight === null) return null;
    this.submitted = true;
    const { seq, op } = this.inFlight;
    const { doc, client, epoch, version: base } = this;
    return this.request(ClientEvent.SUBMIT, { doc, epoch, client, seq, base, op });
  }

  private request(event: ReplicaRequest["event"], payload: Payload): ReplicaRequest {
    return { event, payload, connection: this.connection };
  }

  private isStale(request: ReplicaRequest): boolean {
    return this.closed !== null || request.connection !== this.connection;
  }

  /** Move as much of the buffer as one operation may hold into flight, under a new seq. */
  private takeOff(): void {
    if (this.buffer.length === 0) return;
    const { head, rest } = split(this.buffer, this.limits);
    this.buffer = rest;
    const edits = rest.length === 0 ? this.edits : this.settledEdits;
    this.inFlight = { seq: ++this.seq, op: head, edits };
  }

  /** Open again: with `since`, or behind a fence. */
  private reopen(): void {
    this.connection += 1;
    this.state = "closed";
    this.fetching = false;
    this.submitted = false;
    this.held = [];
  }

  // Answers.

  private opened(answer: OpenAnswer): Effect[] {
    this.state = "open";
    this.memberId = answer.member_id;
    this.role = answer.role;
    const opened: Effect = { kind: "opened", answer };
    if (answer.content === undefined) {
      const ops = answer.ops ?? [];
      const from = (this.anchor?.version ?? 0) + 1;
      this.head = answer.version;
      // Where the page stops short, the hash is that of the head, not of its last entry.
      const whole = from + ops.length > answer.version;
      return [opened, ...this.entries(from, ops, whole ? answer.hash : null)];
    }
    const next: Since = { epoch: answer.epoch, version: answer.version, hash: answer.hash };
    const content = DocumentText.of(answer.content);
    if (this.fence !== null) return [...this.refounded(next, content, answer), opened];
    if (this.isSaved) return [...this.founded(next, content, answer), opened];
    // Before the unsent text moves over, nothing of the old client may commit any more.
    this.raiseFence();
    return [];
  }

  /** Start from the authority's text: at first, or when nothing was pending. */
  private founded(next: Since, content: DocumentText, answer: OpenAnswer): Effect[] {
    const epochChanged = this.known && this.epoch !== next.epoch;
    const text = this.confirmed.toString();
    this.seq = answer.last_seq;
    const effects = this.settle(next, content, content);
    return epochChanged ? [...effects, { kind: "replaced", text }] : effects;
  }

  /** Carry what is unsent over to a history that replaced the one we knew. */
  private refounded(next: Since, content: DocumentText, answer: OpenAnswer): Effect[] {
    const committed = answer.fenced?.last_seq ?? 0;
    const text = this.shown.toString();
    const epochChanged = this.known && this.epoch !== next.epoch;
    let base = this.confirmed;
    let unsent = this.buffer;
    if (this.inFlight !== null) {
      // Covered by the fence it is in the content; otherwise it goes out once more.
      if (this.inFlight.seq <= committed) base = base.apply(this.inFlight.op);
      else unsent = compose(this.inFlight.op, this.buffer);
    }
    const since = difference(base.toString(), content.toString());
    this.fence = null;
    this.seq = 0;
    this.inFlight = null;
    this.buffer = transform(unsent, since, "left");
    const effects = this.settle(next, content, content.apply(this.buffer));
    this.settleEdits(0);
    return epochChanged ? [...effects, { kind: "replaced", text }] : effects;
  }

  /** Take over a new history with the text to be shown. */
  private settle(next: Since, confirmed: DocumentText, shown: DocumentText): Effect[] {
    const op = difference(this.shown.toString(), shown.toString());
    this.anchor = next;
    this.history = next.epoch;
    this.reached = next.version;
    this.head = next.version;
    this.confirmed = confirmed;
    return this.show(op, "replaced");
  }

  private fetched(answer: FetchAnswer): Effect[] {
    this.fetching = false;
    this.behind(answer.version);
    const effects = this.entries(answer.from, answer.ops, answer.hash);
    return [...effects, ...this.release()];
  }

  private submitFailed(error: StrettoError): Effect[] {
    if (error.code === "token_expired") return []; // resent after the refresh
    if (error.code === "rate_limited") {
      this.submitted = false; // it was not even looked at
      return [];
    }
    if (REFUSED.has(error.code)) return this.takeBack(error);
    if (REPLACED.has(error.code)) this.raiseFence();
    else this.reopen();
    return [];
  }

  /** Undo the operation in flight, which the authority refused, under what came after it. */
  private takeBack(error: StrettoError): Effect[] {
    if (this.inFlight === null) return [];
    const { op, edits } = this.inFlight;
    const undo = invert(op, this.confirmed.toString());
    const shownUndo = transform(undo, this.buffer, "right");
    this.buffer = transform(this.buffer, undo, "left");
    this.seq -= 1;
    this.inFlight = null;
    this.submitted = false;
    this.settleEdits(edits);
    const text = insertedText(op);
    return [...this.show(shownUndo, "refused"), { kind: "refused", error, text }];
  }

  private raiseFence(): void {
    // A fence that was not answered yet still stands for the client that may be in flight.
    this.fence ??= this.client;
    this.client = this.newClient();
    this.reopen();
  }

  private isPassing(error: StrettoError): boolean {
    return error.retryable || PASSING.has(error.code);
  }

  // The stream of entries: the only thing that moves `confirmed`.

  private framed(frame: OpsFrame): Effect[] {
    if (frame.epoch !== this.epoch) {
      this.reopen();
      return [];
    }
    if (frame.from > this.version + 1) {
      this.behind(frame.from + frame.ops.length - 1);
      if (this.held.length < HELD_FRAMES) this.held.push(frame);
      return [];
    }
    return [...this.entries(frame.from, frame.ops, frame.hash), ...this.release()];
  }

  /** Apply the frames that were kept over a gap, as far as it is closed now. */
  private release(): Effect[] {
    const effects: Effect[] = [];
    const held = this.held.sort((a, b) => a.from - b.from);
    while (held[0] !== undefined && held[0].from <= this.version + 1) {
      const frame = held.shift() as OpsFrame;
      effects.push(...this.entries(frame.from, frame.ops, frame.hash));
    }
    return effects;
  }

  private entries(from: number, ops: readonly Entry[], hash: string | null): Effect[] {
    const effects: Effect[] = [];
    for (const [index, entry] of ops.entries()) {
      if (from + index !== this.version + 1) continue;
      try {
        this.confirmed = this.confirmed.apply(entry.op);
      } catch {
        return [...effects, ...this.astray()];
      }
      this.reached += 1;
      effects.push(...this.apply(entry), { kind: "applied", version: this.version, entry });
      if (this.state !== "open") return effects;
    }
    if (this.head < this.version) this.head = this.version;
    if (hash !== null && from + ops.length === this.version + 1) {
      this.anchor = { epoch: this.epoch, version: this.version, hash };
    }
    return effects;
  }

  /** What we have is not the authority's text: start over from its content. */
  private astray(): Effect[] {
    this.anchor = null;
    this.reopen();
    return [];
  }

  /** Let an entry, which `confirmed` has already, pass below what is pending. */
  private apply(entry: Entry): Effect[] {
    const own = this.inFlight;
    if (own !== null && entry.client === this.client && entry.seq === own.seq) {
      this.inFlight = null;
      this.submitted = false;
      this.settleEdits(own.edits);
      return sameOperation(own.op, entry.op) ? [] : this.astray();
    }
    let op = entry.op;
    if (own !== null) {
      this.inFlight = { ...own, op: transform(own.op, op, "left") };
      op = transform(op, own.op, "right");
    }
    const buffer = this.buffer;
    this.buffer = transform(buffer, op, "left");
    this.settleEdits(0);
    return this.show(transform(op, buffer, "right"), "remote", entry.user);
  }

  /** Note that edits up to `edits` are settled, all of them when nothing is pending. */
  private settleEdits(edits: number): void {
    this.settledEdits = this.isSaved ? this.edits : Math.max(this.settledEdits, edits);
  }

  private show(op: Operation, origin: Origin, user?: string): Effect[] {
    const changes = this.shown.changes(op);
    if (changes.length === 0) return [];
    this.shown = this.shown.replaced(changes);
    return [{ kind: "changed", origin, op, changes, user }];
  }
}

function sameOperation(a: Operation, b: Operation): boolean {
  return a.length === b.length && a.every((component, index) => component === b[index]);
}

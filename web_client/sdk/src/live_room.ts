/**
 * Rooms as an application sees them: a thin shell around the replica.
 *
 * `RoomReplica` knows what a room holds; here requests are sent, and rooms joined again
 * whenever a connection is back or something was missed.
 */
import { repeatDelay } from "./backoff.js";
import { asStrettoError, connectionLost, StrettoError } from "./errors.js";
import { Emitter } from "./events.js";
import {
  readClosed,
  readMessage,
  readMetadata,
  readRevision,
  readRole,
  type Values,
} from "./payloads.js";
import {
  ClientEvent,
  type Member,
  type Payload,
  ROOMS,
  type Role,
  type RoomMessage,
  type RoomMetadata,
  ServerEvent,
  type StateChange,
} from "./protocol.js";
import { type RoomChange, RoomReplica } from "./room.js";

/** How to enter a room. */
export interface RoomOptions {
  /** What the others see of us: any JSON. */
  readonly status?: unknown;
  /** Counts where the room is made: a room that exists keeps its own. */
  readonly metadata?: RoomMetadata;
  /**
   * What becomes of messages while there is no connection: `queue` keeps up to 100 of them for
   * up to 60 s and sends them once the room is joined again, `reject` fails with `unavailable`.
   */
  readonly offline?: "queue" | "reject";
}

/** What a LiveRoom reports. All but `joined`, `changed`, `role` and `closed` is what others did. */
export interface RoomEvents {
  message: RoomMessage;
  state: StateChange;
  /** Who came, left or changed; the whole is `room.members`. */
  presence: {
    readonly kind: "member_joined" | "member_left" | "member_updated";
    readonly member: Member;
  };
  metadata: { readonly room: string; readonly metadata: Values };
  /** The room was joined, again after a lost connection: everything here is up to date. */
  joined: { readonly room: string };
  /** What is known of the room changed, by whomever: also by ourselves. */
  changed: { readonly room: string };
  role: { readonly room: string; readonly role: Role };
  closed: { readonly room: string; readonly error: StrettoError };
}

/** What a room needs of its client. */
export interface RoomHost {
  readonly isConnected: boolean;
  request(namespace: typeof ROOMS, event: string, payload: Payload): Promise<Payload>;
  random(): number;
  tokenRefused(): void;
  /** Tell the client's own listeners. */
  told(room: string, change: RoomChange): void;
  heard(message: RoomMessage): void;
  /** Called once the server knows that the room was left, or need not be told. */
  forget(room: LiveRoom): void;
}

/** What waits for a connection. */
const MOST_QUEUED = 100;
const LONGEST_QUEUED_MS = 60_000;
/** Sent again by itself: the server was asked too often. */
const TOO_EARLY: ReadonlySet<string> = new Set(["rate_limited", "busy"]);

interface Turn {
  readonly go: () => void;
  readonly fail: (error: StrettoError) => void;
}

/**
 * A room, joined for as long as `leave` was not called; see {@link RealtimeClient.room}.
 *
 * What it holds is not durable, and messages arrive at most once. While the connection is away
 * the copy here stays as it was; afterwards the room is joined again with the same status, and
 * what changed meanwhile is told by events.
 */
export class LiveRoom extends Emitter<RoomEvents> {
  private readonly replica: RoomReplica;
  private status: unknown;
  private hasStatus: boolean;
  private isJoined = false;
  private isJoining = false;
  /** Which attempt to join counts. */
  private joining: symbol | null = null;
  private wasJoined = false;
  private attempt = 0;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private over: StrettoError | null = null;
  /** Whoever waits for the room to be joined. */
  private turns: Turn[] = [];
  private queued = 0;
  /** Requests that came too early wait here, so that what was asked first goes first. */
  private line: Promise<unknown> = Promise.resolve();

  constructor(
    readonly id: string,
    private readonly host: RoomHost,
    private readonly options: RoomOptions = {},
  ) {
    super();
    this.replica = new RoomReplica(id);
    this.status = options.status;
    this.hasStatus = options.status !== undefined;
  }

  /** Who this client is in the room; another one after a lost connection. */
  get memberId(): string | null {
    return this.replica.memberId;
  }

  /** Everybody in the room, oneself included. */
  get members(): readonly Member[] {
    return [...this.replica.members.values()];
  }

  /** The shared state. It is replaced, not changed, and inherits nothing. */
  get state(): Readonly<Values> {
    return this.replica.state;
  }

  /** The revision of `state`. */
  get revision(): number {
    return this.replica.revision;
  }

  /** What the room is found by. */
  get metadata(): Readonly<Values> {
    return this.replica.metadata;
  }

  /** Why the room is over for this client; null while it goes on. */
  get error(): StrettoError | null {
    return this.over;
  }

  /**
   * Send a message to the others: any JSON, and bytes. Rejects with `forbidden`, `too_large`,
   * `invalid_request`, what ended the room, and `unavailable` when there is no connection (see
   * `offline`) or it was lost: then nobody knows whether the message was sent.
   */
  async send(event: string, data: unknown = null): Promise<void> {
    await this.request(ClientEvent.SEND, { event, data }, this.options.offline === "queue");
  }

  /**
   * Change keys of the state, null removes one; resolve with the new revision. Rejects with
   * `revision_conflict` where the state is not at `ifRevision`, and as `send` does.
   */
  async setState(changes: Values, ifRevision?: number): Promise<number> {
    const payload = { changes, ...(ifRevision === undefined ? {} : { if_revision: ifRevision }) };
    return this.write(ClientEvent.SET_STATE, payload, false, (answer) => {
      const revision = readRevision(answer);
      this.report(this.replica.written(revision, changes));
      this.emit("changed", { room: this.id });
      return revision;
    });
  }

  /** Show a status of this member to all. Rejects as `send` does. */
  async setStatus(status: unknown): Promise<void> {
    await this.request(ClientEvent.SET_STATUS, { status });
    this.status = status;
    this.hasStatus = true;
  }

  /**
   * Replace keys of the metadata and resolve with the whole. Rejects with `forbidden` for all
   * but the room's creator and owners, and as `send` does.
   */
  async setMetadata(metadata: RoomMetadata): Promise<Readonly<Values>> {
    return this.write(ClientEvent.SET_METADATA, { metadata }, true, (answer) => {
      this.replica.described(readMetadata(answer));
      this.report([]);
      this.emit("changed", { room: this.id });
      return this.metadata;
    });
  }

  /** Leave the room: it is over at once. Resolves once the server knows. */
  async leave(): Promise<void> {
    if (this.over !== null) return;
    const { isConnected } = this.host;
    this.end(new StrettoError("not_joined", "this room was left"));
    if (isConnected) {
      await this.host.request(ROOMS, ClientEvent.LEAVE, { room: this.id }).catch(() => undefined);
    }
    this.host.forget(this);
  }

  // What the client calls.

  /** @internal Resolve once the room is joined; reject with what ended it. */
  joined(): Promise<void> {
    if (this.over !== null) return Promise.reject(this.over);
    if (this.isJoined) return Promise.resolve();
    return new Promise((go, fail) => this.turns.push({ go, fail }));
  }

  /** @internal Whether it was ever joined. */
  get isKnown(): boolean {
    return this.wasJoined;
  }

  /** @internal */
  connect(): void {
    this.attempt = 0;
    void this.join();
  }

  /** @internal */
  disconnect(): void {
    this.isJoined = this.isJoining = false;
    if (this.retry !== null) clearTimeout(this.retry);
    this.retry = null;
  }

  /** @internal */
  received(event: string, payload: Values): void {
    if (this.over !== null) return;
    try {
      if (event === ServerEvent.MESSAGE) this.message(readMessage(payload));
      else if (event === ServerEvent.CLOSED) this.closed(readClosed(payload));
      else if (event === ServerEvent.ROLE) {
        this.emit("role", { room: this.id, role: readRole(payload) });
      } else {
        this.report(this.replica.receive(event, payload));
        // Also of ourselves, of whom `presence` does not tell.
        if (event === ServerEvent.PRESENCE) this.emit("changed", { room: this.id });
      }
    } catch {
      // What cannot be read is made good by a snapshot, after a while.
      if (this.isJoined) this.joinLater();
    }
  }

  private message(message: RoomMessage): void {
    this.host.heard(message);
    this.emit("message", message);
  }

  /** @internal End: the right is gone, or the client gave up. */
  closed(error: StrettoError): void {
    if (this.over !== null) return;
    this.end(error);
    this.host.forget(this);
    this.emit("closed", { room: this.id, error });
  }

  /** @internal Stop everything; `error` is what calls reject with from now on. */
  end(error: StrettoError): void {
    this.over = error;
    this.disconnect();
    for (const { fail } of this.turns.splice(0)) fail(error);
  }

  // Joining.

  private async join(): Promise<void> {
    if (this.isJoining || this.over !== null || !this.host.isConnected) return;
    this.isJoining = true;
    this.replica.joining();
    const { replica } = this;
    const joining = Symbol();
    this.joining = joining;
    try {
      const answer = await this.host.request(ROOMS, ClientEvent.JOIN, this.joinPayload());
      if (this.joining !== joining || !this.isJoining) return;
      const changes = replica.joined(answer);
      this.isJoining = false;
      this.isJoined = this.wasJoined = true;
      this.attempt = 0;
      this.report(changes);
      this.emit("joined", { room: this.id });
      this.emit("changed", { room: this.id });
      for (const { go } of this.turns.splice(0)) go();
    } catch (reason) {
      if (this.joining !== joining || !this.isJoining) return;
      this.isJoining = false;
      const error = asStrettoError(reason);
      if (error.code === "token_expired") this.host.tokenRefused();
      if (this.passes(error)) this.joinLater(error.retryAfterMs);
      else this.closed(error);
    }
  }

  private joinLater(askedMs?: number): void {
    if (this.retry !== null || this.over !== null) return;
    const delay = repeatDelay(this.attempt++, this.host.random(), askedMs);
    this.retry = setTimeout(() => {
      this.retry = null;
      void this.join();
    }, delay);
  }

  private joinPayload(): Payload {
    const { metadata } = this.options;
    return {
      room: this.id,
      ...(this.hasStatus ? { status: this.status } : {}),
      ...(metadata === undefined ? {} : { metadata }),
    };
  }

  /** After a lost connection our own former place may still be taken for a while. */
  private passes(error: StrettoError): boolean {
    if (error.code === "room_full") return this.wasJoined;
    return error.retryable || ["token_expired", "internal_error"].includes(error.code);
  }

  // Requests.

  /** Send a request; one that comes too early is sent again, before all later ones. */
  private async request(event: string, payload: Payload, mayWait = false): Promise<Payload> {
    await this.line;
    try {
      return await this.requestOnce(event, payload, mayWait);
    } catch (reason) {
      const error = asStrettoError(reason);
      if (!TOO_EARLY.has(error.code)) throw error;
      const again = this.line.then(() => this.patiently(event, payload, error, mayWait));
      this.line = again.catch(() => undefined);
      return again;
    }
  }

  private async patiently(
    event: string,
    payload: Payload,
    refused: StrettoError,
    mayWait: boolean,
  ): Promise<Payload> {
    let error = refused;
    for (let attempt = 0; ; attempt++) {
      const delay = repeatDelay(attempt, this.host.random(), error.retryAfterMs);
      await new Promise((resolve) => setTimeout(resolve, delay));
      try {
        return await this.requestOnce(event, payload, mayWait);
      } catch (reason) {
        error = asStrettoError(reason);
        if (!TOO_EARLY.has(error.code)) throw error;
      }
    }
  }

  private async requestOnce(event: string, payload: Payload, mayWait: boolean): Promise<Payload> {
    if (this.over !== null) throw this.over;
    if (!this.isJoined) {
      if (mayWait) await this.waitInQueue();
      else if (this.host.isConnected) await this.joined();
      else throw connectionLost("not connected");
    }
    return this.host.request(ROOMS, event, { room: this.id, ...payload });
  }

  private waitInQueue(): Promise<void> {
    if (this.queued >= MOST_QUEUED) {
      return Promise.reject(connectionLost(`${MOST_QUEUED} messages wait already`));
    }
    this.queued += 1;
    return new Promise<void>((resolve, reject) => {
      const turn: Turn = {
        go: () => {
          clearTimeout(timer);
          resolve();
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.turns = this.turns.filter((other) => other !== turn);
        reject(connectionLost("no connection for too long"));
      }, LONGEST_QUEUED_MS);
      this.turns.push(turn);
    }).finally(() => {
      this.queued -= 1;
    });
  }

  /** Send a change; tell the replica where it failed. */
  private async write<T>(
    event: string,
    payload: Payload,
    metadata: boolean,
    take: (answer: Payload) => T,
  ): Promise<T> {
    this.replica.writing(metadata);
    try {
      return take(await this.request(event, payload));
    } catch (reason) {
      const error = asStrettoError(reason);
      this.replica.notWritten(metadata, error.retryable || error.code === "internal_error");
      this.report([]);
      throw error;
    }
  }

  /** Tell what changed, and join again where something was missed. */
  private report(changes: readonly RoomChange[]): void {
    for (const change of changes) {
      this.host.told(this.id, change);
      if (change.kind === "state") this.emit("state", change.change);
      else if (change.kind === "metadata") {
        this.emit("metadata", { room: this.id, metadata: change.metadata });
      } else this.emit("presence", change);
    }
    if (changes.length > 0) this.emit("changed", { room: this.id });
    if (this.replica.mustJoin) void this.join();
  }
}

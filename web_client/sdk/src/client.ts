/** The connection to a server, kept up, and the documents and rooms on it. */
import { backoff, repeatDelay } from "./backoff.js";
import type {
  ClientEvents,
  ClientOptions,
  ConnectionState,
  GetToken,
  Joined,
} from "./client_options.js";
import { type DocumentHost, LiveDocument } from "./document.js";
import type { Edit } from "./edits.js";
import { asStrettoError, connectionLost, isRecord, StrettoError } from "./errors.js";
import { Emitter } from "./events.js";
import { hex } from "./history.js";
import type { Lane } from "./keep.js";
import { LiveRoom, type RoomHost, type RoomOptions } from "./live_room.js";
import { readReady, readShutdown, readTtl } from "./payloads.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  DOCS,
  type Entry,
  type FoundRoom,
  type Limits,
  type Namespace,
  type Payload,
  type Ready,
  type RequestAnswer,
  type RequestEvent,
  type RequestPayload,
  ROOMS,
  type RoomQuery,
  SESSION,
  ServerEvent,
  type Shutdown,
  type User,
} from "./protocol.js";
import { Replica } from "./replica.js";
import type { RoomChange } from "./room.js";
import { type Connect, type Connection, connectSocket } from "./transport.js";
import { type UnsentDocument, Vault } from "./vault.js";

const NAMESPACES = [SESSION, DOCS, ROOMS] as const;
/** A connection that held this long starts the backoff anew. */
const STABLE_MS = 5_000;
/** The token is renewed at this part of its life. */
const REFRESH_AT = 0.8;
/** A provider that returns one token until it expires is not asked more often than this. */
const REFRESH_LEAST_MS = 1_000;
/** How long a provider may take. */
const PROVIDER_MS = 30_000;

/**
 * Connects, stays connected, opens documents and joins rooms.
 *
 * ```ts
 * const client = new RealtimeClient({ url: "https://example.org", getToken });
 * await client.connect();
 * const doc = await client.open("notes");
 * doc.insert(0, "Hello");
 * await doc.saved();
 * ```
 */
export class RealtimeClient extends Emitter<ClientEvents> {
  private readonly documents = new Map<string, LiveDocument>();
  private readonly opening = new Map<string, Promise<LiveDocument>>();
  private readonly rooms = new Map<string, LiveRoom>();
  private readonly host: DocumentHost & RoomHost;
  private readonly vault: Vault | null;
  private readonly url: string;
  private readonly getToken: GetToken;
  private readonly renewable: boolean;
  private readonly reconnects: boolean;
  private readonly random: () => number;
  private readonly dial: Connect;
  private connection: Connection | null = null;
  private limits: Limits = DEFAULT_LIMITS;
  private current: ConnectionState = "idle";
  private attempt = 0;
  private connectedAt = 0;
  private resumeAt = 0;
  private renewing = false;
  /** How many renewals failed in a row. */
  private renewals = 0;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private refresh: ReturnType<typeof setTimeout> | null = null;
  private leave: ReturnType<typeof setTimeout> | null = null;
  private waiting: { resolve: () => void; reject: (error: StrettoError) => void }[] = [];
  private subject: string | null = null;
  private identified: ((subject: string) => void)[] = [];
  private whoWeAre: User | null = null;

  constructor(options: ClientOptions) {
    super();
    const { auth, getToken } = options;
    if (getToken === undefined && auth === undefined) {
      throw new StrettoError("unauthenticated", "give auth.token or getToken");
    }
    this.url = options.url ?? globalThis.location.origin;
    this.getToken = getToken ?? (() => auth?.token ?? "");
    this.renewable = getToken !== undefined;
    this.reconnects = options.reconnect ?? true;
    this.random = options.random ?? Math.random;
    const { connect = connectSocket, compression } = options;
    this.dial = (url, listener) => connect(url, listener, compression);
    this.vault = Vault.of(options.persist, {
      server: new URL(this.url, globalThis.location?.href).origin,
      newClient: newClientId,
      now: Date.now,
      failed: (reason) => this.emit("storage.failed", asStrettoError(reason)),
    });
    this.host = this.makeHost();
  }

  get state(): ConnectionState {
    return this.current;
  }

  /** Who the server says that we are; null before the first connection. */
  get user(): User | null {
    return this.whoWeAre;
  }

  /** Connect, and stay connected until `close()`. Rejects when the server refuses us. */
  connect(): Promise<void> {
    if (this.current === "connected") return Promise.resolve();
    if (this.current === "closed") return Promise.reject(connectionLost("the client is closed"));
    const connected = new Promise<void>((resolve, reject) => {
      this.waiting.push({ resolve, reject });
    });
    if (this.current === "idle" || this.current === "refused") {
      this.watchNetwork();
      void this.establish();
    }
    return connected;
  }

  /**
   * Open a document, or return it where it is open already. Rejects when it may not be. Waits
   * while there is no connection, unless edits of it are kept: then it shows those at once.
   */
  async open(doc: string): Promise<LiveDocument> {
    if (this.current === "closed") throw connectionLost("the client is closed");
    if (this.current === "idle") this.connect().catch(() => undefined);
    let document = this.documents.get(doc);
    if (document === undefined) {
      const made = this.opening.get(doc) ?? this.make(doc);
      this.opening.set(doc, made);
      document = await made.finally(() => this.opening.delete(doc));
    }
    await document.opened;
    return document;
  }

  /**
   * Edit a document, opening it first; resolve with the replica's version once it is saved.
   *
   * Positions and lengths count code points. A `version` older than the replica's says where
   * they count (`version_gone` if it is no longer held); a newer one, or none, means now.
   * Rejects with `invalid_request`, `invalid_operation`, and as `open` does.
   */
  async sendOperation(doc: string, edit: Edit): Promise<number> {
    return (await this.open(doc)).edit(edit);
  }

  /** Join a room, or return it where it is joined already. Waits while there is no connection. */
  async room(id: string, options: RoomOptions = {}): Promise<LiveRoom> {
    if (this.current === "closed") throw connectionLost("the client is closed");
    if (this.current === "idle") this.connect().catch(() => undefined);
    let room = this.rooms.get(id);
    const isNew = room === undefined || room.error !== null;
    if (room === undefined || room.error !== null) {
      room = new LiveRoom(id, this.host, options);
      this.rooms.set(id, room);
      room.connect();
    }
    await room.joined();
    if (!isNew && options.status !== undefined) await room.setStatus(options.status);
    return room;
  }

  /** Join room `id` and open document `id`; what succeeds stays if the other fails. */
  async joinRoom(id: string, options: RoomOptions = {}): Promise<Joined> {
    const [room, document] = await Promise.all([this.room(id, options), this.open(id)]);
    return { room, document };
  }

  /** Find rooms: by owner, by all of `tags`, by the number of members. */
  async findRooms(query: RoomQuery = {}): Promise<readonly FoundRoom[]> {
    const { rooms } = await this.request(ROOMS, ClientEvent.FIND, query);
    return rooms;
  }

  /** List the documents with edits that the server is not known to have, of all tabs. */
  async unsent(): Promise<readonly UnsentDocument[]> {
    const kept = (await this.vault?.unsent()) ?? [];
    const open = [...this.documents.values()]
      .filter(({ id, unsent }) => unsent > 0 && !kept.some(({ doc }) => doc === id))
      .map(({ id }) => ({ doc: id, user: this.subject ?? "", at: Date.now() }));
    return [...kept, ...open];
  }

  /**
   * Send an event of the wire contract and return its answer. Rejects with the error that
   * was answered, or `unavailable` when the connection is lost: the outcome is unknown then.
   */
  request<N extends Namespace, E extends RequestEvent<N>>(
    namespace: N,
    event: E,
    payload: RequestPayload<N, E>,
  ): Promise<RequestAnswer<N, E>> {
    return this.send(namespace, event, payload as Payload) as Promise<RequestAnswer<N, E>>;
  }

  /**
   * Close all documents, rooms and the connection. Await the documents' `saved()` first: what
   * is not saved is given up, or kept where the client persists. Resolves once it is kept.
   */
  async close(): Promise<void> {
    const documents = [...this.documents.values()];
    for (const document of documents) document.close();
    for (const room of this.rooms.values()) {
      room.end(new StrettoError("not_joined", "the client was closed"));
    }
    this.rooms.clear();
    this.drop();
    this.unwatchNetwork();
    this.enter("closed");
    for (const { reject } of this.waiting.splice(0)) reject(connectionLost("closed"));
    await Promise.all(documents.map((document) => document.released()));
    await this.vault?.close();
  }

  // Documents and rooms.

  private makeHost(): DocumentHost & RoomHost {
    const isConnected = (): boolean => this.current === "connected";
    return {
      get isConnected() {
        return isConnected();
      },
      request: (namespace, event, payload) => this.send(namespace, event, payload),
      random: this.random,
      tokenRefused: () => void this.renew(),
      updated: (doc, version, entry) => this.updated(doc, version, entry),
      told: (room, change) => this.told(room, change),
      heard: (message) => this.emit("room.message", message),
      forget: (gone: LiveDocument | LiveRoom) => {
        const map: Map<string, unknown> = gone instanceof LiveRoom ? this.rooms : this.documents;
        if (map.get(gone.id) === gone) map.delete(gone.id);
      },
    };
  }

  private async make(doc: string): Promise<LiveDocument> {
    const lanes = this.vault === null ? [] : await this.claim(this.vault, doc);
    // The newest goes on here, the others are delivered first.
    const main = lanes.pop() ?? { replica: new Replica(doc, newClientId), keep: null };
    const document = new LiveDocument(doc, this.host, main, lanes);
    if (this.state === "closed") {
      document.close();
      throw connectionLost("the client is closed");
    }
    this.documents.set(doc, document);
    if (this.current === "connected") document.connect(this.limits);
    return document;
  }

  /** Return what is kept of `doc` and free, with a lane for this tab at the end. */
  private async claim(vault: Vault, doc: string): Promise<Lane[]> {
    const user = this.subject ?? (await new Promise<string>((tell) => this.identified.push(tell)));
    try {
      const lanes = await vault.claim(doc, user);
      return lanes.length > 0 ? lanes : [await vault.fresh(doc, user)];
    } catch (reason) {
      this.emit("storage.failed", asStrettoError(reason));
      return [];
    }
  }

  /** Deliver what tabs left that were closed since. */
  private async takeOver(document: LiveDocument): Promise<void> {
    if (this.vault === null || this.subject === null) return;
    try {
      const lanes = await this.vault.claim(document.id, this.subject);
      document.takeOver(lanes);
    } catch (reason) {
      this.emit("storage.failed", asStrettoError(reason));
    }
  }

  private send(namespace: Namespace, event: string, payload: Payload): Promise<Payload> {
    if (this.connection === null || this.current !== "connected") {
      return Promise.reject(connectionLost("not connected"));
    }
    return this.connection.request(namespace, event, payload);
  }

  // Connecting.

  private async establish(): Promise<void> {
    this.retry = null;
    this.enter("connecting");
    let connection: Connection | null = null;
    try {
      const token = await this.freshToken();
      connection = await this.dial(this.url, {
        received: (namespace, event, payload) => this.received(namespace, event, payload),
        lost: (error) => this.lost(error),
      });
      if (this.current !== "connecting") return connection.close();
      this.connection = connection;
      const made = connection;
      await Promise.all(NAMESPACES.map((namespace) => made.join(namespace, token)));
    } catch (reason) {
      connection?.close();
      this.connection = null;
      if (this.current === "connecting") this.notEstablished(asStrettoError(reason));
      return;
    }
    if (this.connection !== connection) return;
    this.connectedAt = Date.now();
    this.enter("connected");
    for (const document of [...this.documents.values()]) {
      document.connect(this.limits);
      void this.takeOver(document);
    }
    for (const room of [...this.rooms.values()]) room.connect();
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  private notEstablished(error: StrettoError): void {
    const expired = error.code === "token_expired" && this.renewable;
    const passes = error.retryable || expired || error.code === "internal_error";
    if (passes && this.reconnects) {
      this.reconnectIn(Math.max(error.retryAfterMs ?? 0, this.nextDelay()));
      return;
    }
    this.enter("refused");
    this.emit("connection.refused", error);
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  private lost(error: StrettoError): void {
    if (Date.now() - this.connectedAt >= STABLE_MS) this.attempt = 0;
    const connected = this.current === "connected";
    this.drop();
    if (!connected) return; // establish() learns of it from what it waits for
    this.emit("connection.lost", error);
    if (this.current !== "connected") return;
    const asked = this.resumeAt - Date.now();
    if (this.reconnects) this.reconnectIn(asked > 0 ? asked : this.nextDelay());
    else this.enter("idle");
  }

  private reconnectIn(delayMs: number): void {
    this.enter("waiting");
    this.retry = setTimeout(() => void this.establish(), delayMs);
  }

  private nextDelay(): number {
    return backoff(this.attempt++, this.random());
  }

  /** Forget the connection. */
  private drop(): void {
    for (const timer of [this.retry, this.refresh, this.leave]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.retry = this.refresh = this.leave = null;
    this.connection?.close();
    this.connection = null;
    for (const document of this.documents.values()) document.disconnect();
    for (const room of this.rooms.values()) room.disconnect();
  }

  private enter(state: ConnectionState): void {
    if (state === this.current) return;
    this.current = state;
    this.emit("connection.state", state);
  }

  // A browser knows when it is worth trying again at once.

  private readonly wake = (): void => {
    if (this.current !== "waiting" || this.resumeAt > Date.now()) return;
    if (globalThis.document?.visibilityState === "hidden") return;
    if (this.retry !== null) clearTimeout(this.retry);
    this.retry = setTimeout(() => void this.establish(), this.random() * 500);
  };

  private watchNetwork(): void {
    globalThis.addEventListener?.("online", this.wake);
    globalThis.document?.addEventListener("visibilitychange", this.wake);
  }

  private unwatchNetwork(): void {
    globalThis.removeEventListener?.("online", this.wake);
    globalThis.document?.removeEventListener("visibilitychange", this.wake);
  }

  // Events.

  private received(namespace: Namespace, event: string, payload: Payload): void {
    const { doc, room } = payload;
    if (namespace === DOCS) {
      if (typeof doc === "string") this.documents.get(doc)?.received(event, payload);
    } else if (namespace === ROOMS) {
      if (typeof room === "string") this.rooms.get(room)?.received(event, payload);
    } else {
      this.receivedSession(event, payload);
    }
  }

  private receivedSession(event: string, payload: Payload): void {
    if (event === ServerEvent.READY) this.ready(payload);
    else if (event === ServerEvent.TOKEN_EXPIRED) void this.renew();
    else if (event === ServerEvent.SHUTDOWN) this.shutdown(readShutdown(payload));
  }

  private ready(payload: Payload): void {
    let ready: Ready;
    try {
      ready = readReady(payload);
    } catch {
      return; // nothing depends on it: limits stay those of the contract
    }
    this.limits = ready.limits;
    this.whoWeAre = ready.user;
    this.identify(ready.user.id);
    this.scheduleRefresh(ready.token_ttl_s);
    this.emit("connection.ready", ready);
  }

  /** The server goes away: leave and come back at the time that it drew for us. */
  private shutdown(shutdown: Shutdown): void {
    this.resumeAt = Date.now() + shutdown.reconnect_after_ms;
    this.emit("server.shutdown", shutdown);
    if (!this.reconnects) return;
    if (this.leave !== null) clearTimeout(this.leave);
    this.leave = setTimeout(() => {
      this.drop();
      void this.establish();
    }, shutdown.reconnect_after_ms);
  }

  private updated(doc: string, version: number, entry: Entry): void {
    this.emit("sync.update", { doc, version, op: entry.op, user: entry.user });
  }

  private told(room: string, change: RoomChange): void {
    if (change.kind === "state") this.emit("room.state", change.change);
    else if (change.kind === "metadata") {
      this.emit("room.metadata", { room, metadata: change.metadata });
    } else this.emit(`room.${change.kind}`, { room, member: change.member });
  }

  // The token.

  private async freshToken(): Promise<string> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const overdue = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(connectionLost("getToken takes too long")), PROVIDER_MS);
    });
    try {
      const token = await Promise.race([this.getToken(), overdue]);
      const subject = subjectOf(token);
      if (subject !== null) this.identify(subject);
      return token;
    } finally {
      clearTimeout(timer);
    }
  }

  private identify(subject: string): void {
    this.subject = subject;
    for (const tell of this.identified.splice(0)) tell(subject);
  }

  private scheduleRefresh(ttlSeconds: number): void {
    if (this.refresh !== null) clearTimeout(this.refresh);
    if (!this.renewable || !(ttlSeconds > 0)) return;
    const part = REFRESH_AT - 0.1 * this.random();
    const delay = Math.max(REFRESH_LEAST_MS, ttlSeconds * 1_000 * part);
    this.refresh = setTimeout(() => void this.renew(), Math.min(delay, 2 ** 31 - 1));
  }

  private async renew(): Promise<void> {
    const { connection } = this;
    if (!this.renewable || connection === null || this.renewing) return;
    this.renewing = true;
    try {
      const token = await this.freshToken();
      const answer = await connection.request(SESSION, ClientEvent.REFRESH_TOKEN, { token });
      if (this.connection !== connection) return;
      this.scheduleRefresh(readTtl(answer["token_ttl_s"]));
      for (const document of this.documents.values()) document.refreshed();
    } catch (reason) {
      if (this.connection !== connection) return;
      const asked = asStrettoError(reason).retryAfterMs;
      const delay = REFRESH_LEAST_MS + repeatDelay(this.renewals++, this.random(), asked);
      if (this.refresh !== null) clearTimeout(this.refresh);
      this.refresh = setTimeout(() => void this.renew(), delay);
      return;
    } finally {
      this.renewing = false;
    }
    this.renewals = 0;
  }
}

/** Return a random client id: 128 bits. */
function newClientId(): string {
  return hex(globalThis.crypto.getRandomValues(new Uint8Array(16)));
}

/** Return the `sub` of a JWT, as it says itself; null where it is no JWT. */
function subjectOf(token: string): string | null {
  try {
    const part = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isRecord(claims) && typeof claims["sub"] === "string" ? claims["sub"] : null;
  } catch {
    return null;
  }
}

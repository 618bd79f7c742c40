/** The connection to a server, kept up, and the documents open on it. */
import { backoff } from "./backoff.js";
import { type DocumentHost, LiveDocument } from "./document.js";
import { asStrettoError, connectionLost, StrettoError } from "./errors.js";
import { Emitter } from "./events.js";
import type { Operation } from "./operation.js";
import {
  ClientEvent,
  DEFAULT_LIMITS,
  DOCS,
  type Entry,
  type Limits,
  type Namespace,
  type Payload,
  type Ready,
  SESSION,
  ServerEvent,
  type Shutdown,
} from "./protocol.js";
import { type Connect, type Connection, connectSocket } from "./transport.js";

/** Returns a token, a fresh one each time where the last would expire. */
export type GetToken = () => string | Promise<string>;

/** How to reach the server, and who one is: `auth` for one token, `getToken` for renewable ones. */
export interface ClientOptions {
  /** Where the server is: `https://host`; in a browser the page's own origin by default. */
  readonly url?: string;
  readonly auth?: { readonly token: string };
  readonly getToken?: GetToken;
  /** For tests: another way to connect, another source of chance in [0, 1). */
  readonly connect?: Connect;
  readonly random?: () => number;
}

/** `refused`: the server does not let us in; `connect()` tries once more. */
export type ConnectionState =
  | "idle"
  | "connecting"
  | "connected"
  | "waiting"
  | "refused"
  | "closed";

/** What a RealtimeClient reports. */
export interface ClientEvents {
  "connection.ready": Ready;
  "connection.state": ConnectionState;
  "connection.refused": StrettoError;
  "server.shutdown": Shutdown;
  "sync.update": {
    readonly doc: string;
    readonly version: number;
    readonly op: Operation;
    readonly user: string;
  };
}

/** A connection that held this long starts the backoff anew. */
const STABLE_MS = 5_000;
/** The token is renewed at this part of its life. */
const REFRESH_AT = 0.8;

/** Connects, stays connected, and opens documents. */
export class RealtimeClient extends Emitter<ClientEvents> {
  private readonly documents = new Map<string, LiveDocument>();
  private readonly host: DocumentHost;
  private readonly url: string;
  private readonly getToken: GetToken;
  private readonly renewable: boolean;
  private readonly random: () => number;
  private readonly dial: Connect;
  private connection: Connection | null = null;
  private limits: Limits = DEFAULT_LIMITS;
  private current: ConnectionState = "idle";
  private attempt = 0;
  private connectedAt = 0;
  private resumeAt = 0;
  private retry: ReturnType<typeof setTimeout> | null = null;
  private refresh: ReturnType<typeof setTimeout> | null = null;
  private leave: ReturnType<typeof setTimeout> | null = null;
  private waiting: { resolve: () => void; reject: (error: StrettoError) => void }[] = [];

  constructor(options: ClientOptions) {
    super();
    const { auth, getToken } = options;
    if (getToken === undefined && auth === undefined) {
      throw new StrettoError("unauthenticated", "give auth.token or getToken");
    }
    this.url = options.url ?? globalThis.location.origin;
    this.getToken = getToken ?? (() => auth?.token ?? "");
    this.renewable = getToken !== undefined;
    this.random = options.random ?? Math.random;
    this.dial = options.connect ?? connectSocket;
    this.host = {
      request: (namespace, event, payload) => this.request(namespace, event, payload),
      random: this.random,
      newClientId,
      updated: (doc, version, entry) => this.updated(doc, version, entry),
      forget: (doc) => this.documents.delete(doc),
    };
  }

  get state(): ConnectionState {
    return this.current;
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

  /** Open a document, or return it where it is open already. Rejects when it may not be. */
  async open(doc: string): Promise<LiveDocument> {
    let document = this.documents.get(doc);
    if (document === undefined) {
      document = new LiveDocument(doc, this.host);
      this.documents.set(doc, document);
      if (this.current === "connected") document.connect(this.limits);
      else if (this.current === "idle") this.connect().catch(() => undefined);
    }
    await document.opened;
    return document;
  }

  /**
   * Send an event of the wire contract and return its answer. Rejects with the error that
   * was answered, or `unavailable` when the connection is lost: the outcome is unknown then.
   */
  request(namespace: Namespace, event: string, payload: Payload): Promise<Payload> {
    if (this.connection === null || this.current !== "connected") {
      return Promise.reject(connectionLost("not connected"));
    }
    return this.connection.request(namespace, event, payload);
  }

  /** Close all documents and the connection. Await their `saved()` first. */
  close(): void {
    for (const document of [...this.documents.values()]) document.close();
    this.drop();
    this.unwatchNetwork();
    this.enter("closed");
    for (const { reject } of this.waiting.splice(0)) reject(connectionLost("closed"));
  }

  // Connecting.

  private async establish(): Promise<void> {
    this.retry = null;
    this.enter("connecting");
    let connection: Connection | null = null;
    try {
      const token = await this.getToken();
      connection = await this.dial(this.url, {
        received: (namespace, event, payload) => this.received(namespace, event, payload),
        lost: () => this.lost(),
      });
      if (this.current !== "connecting") return connection.close();
      this.connection = connection;
      await Promise.all([connection.join(SESSION, token), connection.join(DOCS, token)]);
    } catch (reason) {
      connection?.close();
      this.connection = null;
      if (this.current === "connecting") this.notEstablished(asStrettoError(reason));
      return;
    }
    if (this.connection !== connection) return;
    this.connectedAt = Date.now();
    this.enter("connected");
    for (const document of this.documents.values()) document.connect(this.limits);
    for (const { resolve } of this.waiting.splice(0)) resolve();
  }

  private notEstablished(error: StrettoError): void {
    const expired = error.code === "token_expired" && this.renewable;
    if (error.retryable || expired || error.code === "internal_error") {
      this.reconnectIn(Math.max(error.retryAfterMs ?? 0, this.nextDelay()));
      return;
    }
    this.enter("refused");
    this.emit("connection.refused", error);
    for (const { reject } of this.waiting.splice(0)) reject(error);
  }

  private lost(): void {
    if (Date.now() - this.connectedAt >= STABLE_MS) this.attempt = 0;
    const connected = this.current === "connected";
    this.drop();
    if (!connected) return; // establish() learns of it from what it waits for
    const asked = this.resumeAt - Date.now();
    this.reconnectIn(asked > 0 ? asked : this.nextDelay());
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
    if (namespace === DOCS) {
      this.documents.get(String(payload["doc"]))?.received(event, payload);
    } else if (event === ServerEvent.READY) {
      const ready = payload as unknown as Ready;
      this.limits = { ...DEFAULT_LIMITS, ...ready.limits };
      this.scheduleRefresh(ready.token_ttl_s);
      this.emit("connection.ready", ready);
    } else if (event === ServerEvent.TOKEN_EXPIRED) {
      void this.renew();
    } else if (event === ServerEvent.SHUTDOWN) {
      this.shutdown(payload as unknown as Shutdown);
    }
  }

  /** The server goes away: leave and come back at the time that it drew for us. */
  private shutdown(shutdown: Shutdown): void {
    this.resumeAt = Date.now() + shutdown.reconnect_after_ms;
    this.emit("server.shutdown", shutdown);
    this.leave = setTimeout(() => {
      this.drop();
      void this.establish();
    }, shutdown.reconnect_after_ms);
  }

  private updated(doc: string, version: number, entry: Entry): void {
    this.emit("sync.update", { doc, version, op: entry.op, user: entry.user });
  }

  // The token.

  private scheduleRefresh(ttlSeconds: number): void {
    if (this.refresh !== null) clearTimeout(this.refresh);
    if (!this.renewable || !(ttlSeconds > 0)) return;
    const part = REFRESH_AT - 0.1 * this.random();
    const delay = Math.min(ttlSeconds * 1_000 * part, 2 ** 31 - 1);
    this.refresh = setTimeout(() => void this.renew(), delay);
  }

  private async renew(): Promise<void> {
    const connection = this.connection;
    if (!this.renewable || connection === null) return;
    try {
      const token = await this.getToken();
      const answer = await connection.request(SESSION, ClientEvent.REFRESH_TOKEN, { token });
      if (this.connection !== connection) return;
      this.scheduleRefresh(Number(answer["token_ttl_s"]));
      for (const document of this.documents.values()) document.refreshed();
    } catch {
      if (this.connection !== connection) return;
      this.refresh = setTimeout(() => void this.renew(), this.nextDelay());
    }
  }
}

/** Return a random client id: 128 bits. */
function newClientId(): string {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

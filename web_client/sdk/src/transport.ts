/** One connection to a server: the only module that knows socket.io-client. */
import { Manager, type Socket } from "socket.io-client";
import { connectionLost, errorFromPayload, isRecord, StrettoError } from "./errors.js";
import type { Namespace, Payload } from "./protocol.js";

/** How long the handshake may take, and the joining of a namespace. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** An answer may be a whole document over a slow line. */
export const REQUEST_TIMEOUT_MS = 60_000;
/** In Node.js: what is offered with `compression`. Shorter frames are sent as they are. */
const DEFLATE = { threshold: 1024 };
/** Offers nothing. Its type has no `false`, its documentation has. */
const NO_DEFLATE = false as unknown as typeof DEFLATE;

/** What a connection reports. Nothing comes after `lost`. */
export interface ConnectionListener {
  received(namespace: Namespace, event: string, payload: Payload): void;
  lost(error: StrettoError): void;
}

/** What the client needs of a connection. */
export interface Connection {
  /** Join a namespace. Rejects with the server's refusal. */
  join(namespace: Namespace, token: string): Promise<void>;
  /** Send one event, and resolve with the answer or reject with its error. */
  request(namespace: Namespace, event: string, payload: Payload): Promise<Payload>;
  /** Give the connection up. `lost` is not called. */
  close(): void;
}

/** Makes connections; tests bring their own. */
export type Connect = (
  url: string,
  listener: ConnectionListener,
  compression?: boolean,
) => Promise<Connection>;

/**
 * Connect to the server at `url`, by WebSocket where possible.
 *
 * A connection is used once: whoever wants it back makes a new one, so that nothing of an old
 * one reaches it. `compression` offers permessage-deflate where the platform leaves that to us.
 * Rejects with `unavailable` when the server cannot be reached.
 */
export const connectSocket: Connect = (url, listener, compression = false) => {
  const connection = new SocketConnection(url, listener, compression);
  return connection.open().then(() => connection);
};

class SocketConnection implements Connection {
  private readonly manager: Manager;
  private readonly sockets = new Map<Namespace, Socket>();
  /** What to do about everything that waits, once the connection is lost. */
  private readonly waiting = new Set<(error: StrettoError) => void>();
  private over = false;

  constructor(
    url: string,
    private readonly listener: ConnectionListener,
    compression: boolean,
  ) {
    this.manager = new Manager(url, {
      autoConnect: false,
      reconnection: false,
      transports: ["websocket", "polling"],
      tryAllTransports: true,
      timeout: CONNECT_TIMEOUT_MS,
      perMessageDeflate: compression ? DEFLATE : NO_DEFLATE,
    });
    this.manager.on("close", (reason) => this.lose(connectionLost(`connection lost: ${reason}`)));
  }

  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.manager.open((error) => {
        if (error === undefined) return resolve();
        this.close();
        reject(connectionLost(`cannot connect: ${error.message}`));
      });
    });
  }

  join(namespace: Namespace, token: string): Promise<void> {
    const socket = this.manager.socket(namespace, { auth: { token } });
    this.sockets.set(namespace, socket);
    socket.onAny((event: string, ...args: unknown[]) => {
      if (!this.over && args.length === 1 && isRecord(args[0])) {
        this.listener.received(namespace, event, args[0]);
      }
    });
    const joined = this.until(CONNECT_TIMEOUT_MS, (resolve, reject) => {
      socket.on("connect", () => resolve({}));
      socket.on("connect_error", (error) => reject(refusal(error)));
    });
    // A namespace alone is never taken away: the server means the connection.
    socket.on("disconnect", (reason) => this.lose(connectionLost(`connection lost: ${reason}`)));
    socket.connect();
    return joined.then(() => undefined);
  }

  request(namespace: Namespace, event: string, payload: Payload): Promise<Payload> {
    const socket = this.sockets.get(namespace);
    if (this.over || socket === undefined || !socket.connected) {
      return Promise.reject(connectionLost("not connected"));
    }
    return this.until(REQUEST_TIMEOUT_MS, (resolve, reject) => {
      socket.emit(event, payload, (...args: unknown[]) => {
        const answer = args[0];
        if (!isRecord(answer)) reject(errorFromPayload({ message: "not an ack object" }));
        else if (answer["ok"] === true) resolve(answer);
        else reject(errorFromPayload(answer["error"]));
      });
    });
  }

  close(): void {
    this.end(connectionLost("the connection was closed"));
  }

  /** Run `start`, which settles once, unless the connection or the time ends first. */
  private until(
    timeoutMs: number,
    start: (resolve: (answer: Payload) => void, reject: (error: StrettoError) => void) => void,
  ): Promise<Payload> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.waiting.delete(fail);
      };
      const fail = (error: StrettoError): void => {
        settle();
        reject(error);
      };
      const timer = setTimeout(() => {
        // Nobody knows what became of it: a half-open connection looks like this.
        this.lose(connectionLost("no answer in time"));
      }, timeoutMs);
      this.waiting.add(fail);
      start((answer) => {
        settle();
        resolve(answer);
      }, fail);
    });
  }

  private lose(error: StrettoError): void {
    if (this.end(error)) this.listener.lost(error);
  }

  private end(error: StrettoError): boolean {
    if (this.over) return false;
    this.over = true;
    for (const fail of [...this.waiting]) fail(error);
    for (const socket of this.sockets.values()) socket.removeAllListeners().offAny().disconnect();
    this.manager.removeAllListeners();
    this.manager._close();
    return true;
  }
}

/** Return the error of a CONNECT_ERROR, or of a transport that failed. */
function refusal(error: Error & { data?: unknown }): StrettoError {
  if (isRecord(error.data)) return errorFromPayload(error.data);
  if (error.message === "Invalid namespace") return new StrettoError("not_found", error.message);
  return connectionLost(error.message);
}

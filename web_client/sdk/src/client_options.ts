/** What a client is made with, and what it reports. */
import type { LiveDocument } from "./document.js";
import type { StrettoError } from "./errors.js";
import type { LiveRoom } from "./live_room.js";
import type { Operation } from "./operation.js";
import type { Member, Ready, RoomMessage, Shutdown, StateChange } from "./protocol.js";
import type { Connect } from "./transport.js";
import type { PersistOption } from "./vault.js";

/** Returns a token, a fresh one each time where the last would expire. */
export type GetToken = () => string | Promise<string>;

/** How to reach the server, and who one is: `auth` for one token, `getToken` for renewable ones. */
export interface ClientOptions {
  /** Where the server is: `https://host`; in a browser the page's own origin by default. */
  readonly url?: string;
  readonly auth?: { readonly token: string };
  readonly getToken?: GetToken;
  /** Whether a lost connection comes back by itself (it does, unless this is false). */
  readonly reconnect?: boolean;
  /**
   * Whether unsent edits survive the tab. `true`, the default in browsers with IndexedDB and Web
   * Locks, keeps them in the database `stretto/default`, `{ name }` in one of that name.
   */
  readonly persist?: PersistOption;
  /** In Node.js: offer the server to compress long frames. Browsers always do. */
  readonly compression?: boolean;
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
  "connection.lost": StrettoError;
  "connection.refused": StrettoError;
  "server.shutdown": Shutdown;
  /** Storage fails: edits are delivered as ever, but do not survive the tab any more. */
  "storage.failed": StrettoError;
  "sync.update": {
    readonly doc: string;
    readonly version: number;
    readonly op: Operation;
    readonly user: string;
  };
  "room.member_joined": { readonly room: string; readonly member: Member };
  "room.member_left": { readonly room: string; readonly member: Member };
  "room.member_updated": { readonly room: string; readonly member: Member };
  "room.message": RoomMessage;
  "room.state": StateChange;
  "room.metadata": { readonly room: string; readonly metadata: Record<string, unknown> };
}

/** What joining a room and opening its document gives. */
export interface Joined {
  readonly room: LiveRoom;
  readonly document: LiveDocument;
}

/** The browser and Node client of Stretto. */
export { backoff } from "./backoff.js";
export { RealtimeClient } from "./client.js";
export type {
  ClientEvents,
  ClientOptions,
  ConnectionState,
  GetToken,
  Joined,
} from "./client_options.js";
export { LiveDocument } from "./document.js";
export type {
  DocumentEvents,
  RemoteCursor,
  Returned,
  Status,
  TextChange,
} from "./document_events.js";
export type { Edit } from "./edits.js";
export type { Origin } from "./effects.js";
export { ERROR_CODES, type ErrorCode, StrettoError } from "./errors.js";
export { Emitter, type Unsubscribe } from "./events.js";
export { LiveRoom, type RoomEvents, type RoomOptions } from "./live_room.js";
export { type Component, check, normalize, type Operation, type Side } from "./operation.js";
export { type Bias, mapPosition } from "./position.js";
export type {
  Entry,
  FoundRoom,
  Limits,
  Member,
  Namespace,
  Range,
  Ready,
  RequestAnswer,
  RequestEvent,
  RequestPayload,
  Requests,
  Role,
  RoomMessage,
  RoomMetadata,
  RoomQuery,
  Shutdown,
  StateChange,
  User,
} from "./protocol.js";
export { DOCS, PROTOCOL_VERSION, ROOMS, SESSION } from "./protocol.js";
export { apply, compose, invert, transform } from "./transform.js";
export { type Change, DocumentText, mapUnit } from "./units.js";
export type { PersistOption, UnsentDocument } from "./vault.js";

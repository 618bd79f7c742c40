/** The browser and Node client of Stretto. */
export { backoff } from "./backoff.js";
export {
  type ClientEvents,
  type ClientOptions,
  type ConnectionState,
  type GetToken,
  RealtimeClient,
} from "./client.js";
export {
  type DocumentEvents,
  LiveDocument,
  type RemoteCursor,
  type Status,
  type TextChange,
} from "./document.js";
export { ERROR_CODES, type ErrorCode, StrettoError } from "./errors.js";
export { Emitter, type Unsubscribe } from "./events.js";
export { type Component, check, normalize, type Operation, type Side } from "./operation.js";
export { type Bias, mapPosition } from "./position.js";
export type { Entry, Limits, Member, Namespace, Range, Ready, Role, User } from "./protocol.js";
export { DOCS, PROTOCOL_VERSION, ROOMS, SESSION } from "./protocol.js";
export type { Origin } from "./replica.js";
export { apply, compose, invert, transform } from "./transform.js";
export { type Change, DocumentText } from "./units.js";

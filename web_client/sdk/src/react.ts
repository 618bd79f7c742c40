/** React hooks: `useDocument`, `useRoom`, `usePresence`. */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";
import type { RealtimeClient } from "./client.js";
import { LiveDocument } from "./document.js";
import type { Status } from "./document_events.js";
import { asStrettoError, type StrettoError } from "./errors.js";
import { LiveRoom, type RoomOptions } from "./live_room.js";
import type { Member } from "./protocol.js";

/** What {@link useDocument} returns; `document` is null until it is open. */
export interface DocumentState {
  readonly document: LiveDocument | null;
  readonly text: string;
  readonly status: Status;
  /** Why the document could not be opened, or was closed. */
  readonly error: StrettoError | null;
}

/** What {@link useRoom} returns; `room` is null until it is joined. */
export interface RoomState {
  readonly room: LiveRoom | null;
  readonly members: readonly Member[];
  readonly state: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Why the room could not be joined, or is over. */
  readonly error: StrettoError | null;
}

/** Something that components share: opened by the first, closed behind the last. */
interface Shared<T> {
  readonly opened: Promise<T>;
  users: number;
}

type Kind = "documents" | "rooms";

const shared = new WeakMap<RealtimeClient, Record<Kind, Map<string, Shared<unknown>>>>();

/** What is left is closed a moment later: strict mode, and moving a component, come back. */
const GRACE_MS = 200;
const NOBODY: readonly Member[] = [];
const NOTHING: Readonly<Record<string, unknown>> = Object.freeze({});

/** Open a document while a component is there that uses it. */
export function useDocument(client: RealtimeClient, id: string): DocumentState {
  const open = useCallback(() => client.open(id), [client, id]);
  const close = useCallback((document: LiveDocument) => document.close(), []);
  const [document, failure] = useShared(client, "documents", id, open, close);
  const on = useCallback(
    (changed: () => void) => {
      const leave = (["change", "status", "presence", "closed"] as const).map((event) =>
        document?.on(event, changed),
      );
      return () => {
        for (const end of leave) end?.();
      };
    },
    [document],
  );
  const text = useSyncExternalStore(
    on,
    () => document?.text ?? "",
    () => "",
  );
  const status = useSyncExternalStore(
    on,
    () => document?.status ?? "offline",
    () => "offline" as const,
  );
  const error = useSyncExternalStore(
    on,
    () => document?.closedBy ?? failure,
    () => null,
  );
  return { document, text, status, error };
}

/** Be in a room while a component is there that uses it; `options` count at the first joining. */
export function useRoom(client: RealtimeClient, id: string, options: RoomOptions = {}): RoomState {
  const latest = useRef(options);
  latest.current = options;
  const open = useCallback(() => client.room(id, latest.current), [client, id]);
  const close = useCallback((room: LiveRoom) => void room.leave(), []);
  const [room, failure] = useShared(client, "rooms", id, open, close);
  const on = useCallback(
    (changed: () => void) => {
      const leave = (["changed", "closed"] as const).map((event) => room?.on(event, changed));
      return () => {
        for (const end of leave) end?.();
      };
    },
    [room],
  );
  const read = <T>(value: (room: LiveRoom) => T, empty: T): (() => T) => {
    return () => (room === null ? empty : value(room));
  };
  const state = read(({ state }) => state, NOTHING);
  const metadata = read(({ metadata }) => metadata, NOTHING);
  const error = read(({ error }) => error, failure);
  return {
    room,
    members: usePresence(room),
    state: useSyncExternalStore(on, state, () => NOTHING),
    metadata: useSyncExternalStore(on, metadata, () => NOTHING),
    error: useSyncExternalStore(on, error, () => null),
  };
}

/** Return who is in a document or room, oneself included; nobody while there is none. */
export function usePresence(source: LiveDocument | LiveRoom | null): readonly Member[] {
  const members = useRef<{ of: unknown; list: readonly Member[] }>({ of: null, list: NOBODY });
  const on = useCallback(
    (changed: () => void) => {
      const update = (): void => {
        members.current = { of: source, list: source?.members ?? NOBODY };
        changed();
      };
      update();
      return source instanceof LiveRoom
        ? source.on("changed", update)
        : (source?.on("presence", update) ?? (() => undefined));
    },
    [source],
  );
  const read = (): readonly Member[] => {
    if (members.current.of !== source) {
      members.current = { of: source, list: source?.members ?? NOBODY };
    }
    return members.current.list;
  };
  return useSyncExternalStore(on, read, () => NOBODY);
}

/** Use one of the client's things together with all other components that do. */
function useShared<T>(
  client: RealtimeClient,
  kind: Kind,
  id: string,
  open: () => Promise<T>,
  close: (opened: T) => void,
): readonly [T | null, StrettoError | null] {
  const [held, setHeld] = useState<{ of: unknown; value: T | null; error: StrettoError | null }>({
    of: null,
    value: null,
    error: null,
  });
  useEffect(() => {
    const one = acquire(client, kind, id, open);
    let isHere = true;
    one.opened.then(
      (value) => isHere && setHeld({ of: open, value, error: null }),
      (reason) => isHere && setHeld({ of: open, value: null, error: asStrettoError(reason) }),
    );
    return () => {
      isHere = false;
      release(client, kind, id, one, close);
    };
  }, [client, kind, id, open, close]);
  return held.of === open ? [held.value, held.error] : [null, null];
}

function acquire<T>(
  client: RealtimeClient,
  kind: Kind,
  id: string,
  open: () => Promise<T>,
): Shared<T> {
  const all = shared.get(client) ?? { documents: new Map(), rooms: new Map() };
  shared.set(client, all);
  const known = all[kind].get(id) as Shared<T> | undefined;
  const one = known ?? { opened: open(), users: 0 };
  one.users += 1;
  all[kind].set(id, one);
  return one;
}

function release<T>(
  client: RealtimeClient,
  kind: Kind,
  id: string,
  one: Shared<T>,
  close: (opened: T) => void,
): void {
  one.users -= 1;
  const isUnused = (): boolean => one.users === 0 && shared.get(client)?.[kind].get(id) === one;
  const end = async (): Promise<void> => {
    const opened = await one.opened.catch(() => null);
    // What was typed last is not given up: the document stays until it is saved.
    if (opened instanceof LiveDocument) await opened.saved().catch(() => undefined);
    if (!isUnused()) return;
    shared.get(client)?.[kind].delete(id);
    if (opened !== null) close(opened);
  };
  setTimeout(() => {
    if (isUnused()) void end();
  }, GRACE_MS);
}

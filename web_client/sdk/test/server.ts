/** A server of one document and of rooms without rules, for many clients, in memory. */
import { asStrettoError, connectionLost } from "../src/errors.js";
import type { Namespace, Payload } from "../src/protocol.js";
import type { Connect, ConnectionListener } from "../src/transport.js";
import { Authority } from "./authority.js";

export class Link {
  opened = false;
  over = false;

  constructor(
    readonly listener: ConnectionListener,
    readonly id: string,
  ) {}
}

export class TestServer {
  readonly authority = new Authority();
  readonly links: Link[] = [];
  readonly requests: { event: string; payload: Payload }[] = [];
  readonly rooms = new Map<string, Link[]>();
  up = true;
  user = "ann";
  /** Called before each request is answered: to hold it up, or to let it fail. */
  before: (event: string, payload: Payload) => void | Promise<void> = () => undefined;
  revision = 0;
  private connections = 0;

  readonly connect: Connect = async (_url, listener) => {
    if (!this.up) throw connectionLost("nobody there");
    const link = new Link(listener, `m${++this.connections}`);
    this.links.push(link);
    return {
      join: async (namespace) => {
        if (namespace !== "/") return;
        const user = { id: this.user, name: this.user, color: "#123456" };
        const ready = { session_id: link.id, user, token_ttl_s: 3600, limits: {} };
        listener.received("/", "ready", { ...ready, protocol: 1, node: "n", server_time_ms: 0 });
      },
      request: (namespace, event, payload) => this.request(link, namespace, event, payload),
      close: () => this.forget(link),
    };
  };

  /** Cut all connections, and take no new ones. */
  down(): void {
    this.up = false;
    for (const link of [...this.links]) {
      this.forget(link);
      link.listener.lost(connectionLost());
    }
  }

  broadcast(namespace: Namespace, event: string, payload: Payload): void {
    for (const { opened, listener } of [...this.links]) {
      if (opened) listener.received(namespace, event, structuredClone(payload));
    }
  }

  /** Let somebody else commit `op`. */
  commit(op: readonly (string | number)[], seq: number): void {
    const { authority } = this;
    const { version: base, epoch } = authority;
    authority.answer("submit", { epoch, client: "other-other-other", seq, base, op });
    this.broadcast("/docs", "ops", authority.frame(base + 1));
  }

  private forget(link: Link): void {
    link.over = true;
    const at = this.links.indexOf(link);
    if (at >= 0) this.links.splice(at, 1);
  }

  private async request(
    link: Link,
    namespace: Namespace,
    event: string,
    given: Payload,
  ): Promise<Payload> {
    const payload = structuredClone(given);
    this.requests.push({ event, payload });
    await this.before(event, payload);
    if (link.over) throw connectionLost();
    if (namespace === "/rooms") return this.room(link, event, payload);
    if (!["open", "fetch", "submit"].includes(event)) return { ok: true };
    const before = this.authority.version;
    try {
      const answer = structuredClone(this.authority.answer(event, payload));
      if (event === "open") link.opened = true;
      if (this.authority.version > before) {
        const frame = this.authority.frame(before + 1);
        queueMicrotask(() => this.broadcast("/docs", "ops", frame));
      }
      return answer;
    } catch (reason) {
      throw asStrettoError(reason);
    }
  }

  private room(link: Link, event: string, payload: Payload): Payload {
    const room = String(payload["room"]);
    const others = (this.rooms.get(room) ?? []).filter((other) => other !== link);
    const from = { id: link.id, user: { id: "ann", name: "Ann", color: "#123456" } };
    const tell = (name: string, what: Payload): void => {
      for (const { listener } of others) listener.received("/rooms", name, { room, ...what });
    };
    if (event === "join") {
      this.rooms.set(room, [...others, link]);
      tell("presence", { joined: [from], left: [], updated: [] });
      const members = [...others, link].map(({ id }) => ({ ...from, id }));
      const { revision } = this;
      return { room, member_id: link.id, members, state: {}, revision, metadata: {} };
    }
    if (event === "leave") {
      this.rooms.set(room, others);
      tell("presence", { joined: [], left: [link.id], updated: [] });
    }
    if (event === "send") {
      tell("message", { event: payload["event"], data: payload["data"], from, at_ms: 1 });
    }
    if (event === "set_state") {
      this.revision += 1;
      tell("state", { revision: this.revision, changes: payload["changes"], by: from });
      return { revision: this.revision };
    }
    if (event === "set_metadata") {
      tell("metadata", { metadata: payload["metadata"] });
      return { metadata: payload["metadata"] };
    }
    return event === "find" ? { rooms: [] } : {};
  }
}

/** Web Locks, as far as they are used: one holder, or none at once. */
export class FakeLocks {
  private readonly held = new Set<string>();

  readonly request = (async (name: string, _options: object, use: LockGrantedCallback<unknown>) => {
    if (this.held.has(name)) return use(null);
    this.held.add(name);
    try {
      return await use({ name, mode: "exclusive" });
    } finally {
      this.held.delete(name);
    }
  }) as LockManager["request"];

  /** Let go of everything, as when a tab is closed. */
  killAll(): void {
    this.held.clear();
  }
}

/** Resolves when `condition` holds; for tests in real time. */
export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`never: ${condition}`);
}

/** Replicas on a network that tests control: nothing arrives before it is told to. */

import type { Effect, ReplicaRequest } from "../src/effects.js";
import { asStrettoError, connectionLost } from "../src/errors.js";
import type { Operation } from "../src/operation.js";
import type { Payload } from "../src/protocol.js";
import { Replica } from "../src/replica.js";
import { DocumentText } from "../src/units.js";
import type { Authority } from "./authority.js";

type Up = { readonly request: ReplicaRequest };
type Down = { readonly event: string; readonly payload: Payload } | Answer;
type Answer = { readonly request: ReplicaRequest; readonly settle: () => Effect[] };

/** One replica with its link; `shown` is rebuilt from the changes it reports, as an editor is. */
export class Site {
  readonly replica: Replica;
  readonly effects: Effect[] = [];
  shown = DocumentText.EMPTY;
  connected = false;
  joined = false;
  private up: Up[] = [];
  private down: Down[] = [];
  private clients = 0;

  constructor(
    readonly name: string,
    private readonly network: Network,
  ) {
    this.replica = new Replica("d", () => `${name}-${++this.clients}`.padEnd(16, "-"));
  }

  get text(): string {
    return this.shown.toString();
  }

  connect(): void {
    this.connected = true;
  }

  /** Lose the connection: requests may have arrived or not, answers do not. */
  disconnect(arrives = 0): void {
    for (; arrives > 0 && this.up.length > 0; arrives--) this.arrive();
    this.connected = this.joined = false;
    this.up = [];
    this.down = [];
    this.replica.disconnected();
  }

  edit(op: Operation): void {
    this.take(this.replica.edit(op));
  }

  type(text: string, at = 0): void {
    this.edit(at === 0 ? [text] : [at, text]);
  }

  /** Let the replica send all that it wants to send. */
  send(): void {
    if (!this.connected) return;
    for (let request = this.replica.nextRequest(); request; request = this.replica.nextRequest()) {
      this.up.push({ request });
    }
  }

  /** Let the oldest request arrive at the authority. */
  arrive(): boolean {
    const sent = this.up.shift();
    if (sent === undefined) return false;
    const { request } = sent;
    const { authority } = this.network;
    const before = authority.version;
    let settle: () => Effect[];
    try {
      const answer = authority.answer(request.event, request.payload);
      settle = () => this.replica.answered(request, answer);
    } catch (reason) {
      const error = asStrettoError(reason);
      settle = () => this.replica.failed(request, error);
    }
    if (request.event === "open") this.joined = true;
    const answer = { request, settle };
    if (this.network.acksFirst) this.down.push(answer);
    if (authority.version > before) this.network.broadcast(authority.frame(before + 1));
    if (!this.network.acksFirst) this.down.push(answer);
    return true;
  }

  /** Let the oldest message of the authority arrive. */
  receive(): boolean {
    const message = this.down.shift();
    if (message === undefined) return false;
    if ("settle" in message) this.take(message.settle());
    else this.take(this.replica.received(message.event, message.payload));
    return true;
  }

  /** Lose the oldest message of the authority that is a frame. */
  dropFrame(): void {
    const index = this.down.findIndex((message) => "event" in message && message.event === "ops");
    if (index < 0) return;
    this.down.splice(index, 1);
    this.push("behind", { doc: "d", version: this.network.authority.version });
  }

  push(event: string, payload: Payload): void {
    if (this.joined) this.down.push({ event, payload });
  }

  /** Fail the request that waits longest, as a timeout does. */
  fail(): void {
    const sent = this.up.shift();
    if (sent) this.take(this.replica.failed(sent.request, connectionLost()));
  }

  private take(effects: Effect[]): void {
    this.effects.push(...effects);
    for (const effect of effects) {
      if (effect.kind === "changed") this.shown = this.shown.replaced(effect.changes);
    }
  }
}

export class Network {
  acksFirst = true;
  readonly sites: Site[] = [];

  constructor(readonly authority: Authority) {}

  site(name: string): Site {
    const site = new Site(name, this);
    this.sites.push(site);
    site.connect();
    return site;
  }

  broadcast(frame: Payload): void {
    for (const site of this.sites) site.push("ops", frame);
  }

  /** Let everything arrive that is under way, and all that it leads to. */
  settle(): void {
    let rounds = 0;
    for (let busy = true; busy; ) {
      busy = false;
      if (++rounds > 500) throw new Error("the network never comes to rest");
      for (const site of this.sites) {
        site.send();
        while (site.arrive()) busy = true;
        while (site.receive()) busy = true;
      }
    }
  }
}

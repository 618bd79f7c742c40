/** A small authority for tests: one document, the rules of the contract that matter here. */
import { StrettoError } from "../src/errors.js";
import { nextHash } from "../src/history.js";
import { normalize, type Operation } from "../src/operation.js";
import { type Entry, NO_HASH, type Payload, type Since } from "../src/protocol.js";
import { apply, transform } from "../src/transform.js";
import { DocumentText } from "../src/units.js";

interface Record {
  lastSeq: number;
  version: number;
  fenced: boolean;
}

export class Authority {
  text = "";
  epoch = "e1";
  floor = 0;
  entries: Entry[] = [];
  pageEntries = 500;
  private readonly clients = new Map<string, Record>();
  private readonly hashes = [NO_HASH];

  get version(): number {
    return this.entries.length;
  }

  get hash(): string {
    return this.hashes[this.version] ?? NO_HASH;
  }

  /** Answer a request of a replica; throws the StrettoError that would be answered. */
  answer(event: string, payload: Payload): Payload {
    if (event === "open") return this.open(payload);
    if (event === "fetch") return this.fetch(payload);
    return this.submit(payload);
  }

  /** The frame that every member gets after a submit. */
  frame(from: number): Payload {
    const ops = this.entries.slice(from - 1);
    return { doc: "d", epoch: this.epoch, from, ops, hash: this.hashes[this.version] };
  }

  /** Replace the history: another epoch, with this text. */
  replace(text: string): void {
    this.epoch = `e${Number(this.epoch.slice(1)) + 1}`;
    this.entries = [];
    this.floor = 0;
    this.hashes.length = 1;
    this.clients.clear();
    this.text = "";
    this.commit("importer-importer", 1, [text]);
  }

  /** Lose the newest entries, as a database may that fails over. */
  rollBack(version: number): void {
    this.entries.length = version;
    this.hashes.length = version + 1;
    this.clients.clear();
    this.text = this.entries.reduce((text, entry) => apply(text, entry.op), "");
  }

  private commit(client: string, seq: number, op: Operation): void {
    this.text = apply(this.text, op);
    const entry = { client, seq, op, user: client, at_ms: 0 };
    this.hashes.push(nextHash(this.hash, entry));
    this.entries.push(entry);
    this.clients.set(client, { ...this.record(client), lastSeq: seq, version: this.version });
  }

  private record(client: string): Record {
    return this.clients.get(client) ?? { lastSeq: 0, version: 0, fenced: false };
  }

  private open(payload: Payload): Payload {
    const client = String(payload["client"]);
    const fence = payload["fence"];
    const answer: Payload = {
      doc: "d",
      type: "text",
      epoch: this.epoch,
      version: this.version,
      hash: this.hashes[this.version],
      member_id: "m",
      last_seq: this.record(client).lastSeq,
      role: "editor",
      members: [],
    };
    if (typeof fence === "string") {
      this.clients.set(fence, { ...this.record(fence), fenced: true });
      answer["fenced"] = { last_seq: this.record(fence).lastSeq };
    }
    const since = payload["since"] as Since | undefined;
    if (since === undefined) return { ...answer, content: this.text };
    const known =
      since.epoch === this.epoch &&
      since.version >= this.floor &&
      this.hashes[since.version] === since.hash;
    if (!known) return { ...answer, content: this.text, reset: true, floor: this.floor };
    const ops = this.entries.slice(since.version, since.version + this.pageEntries);
    return { ...answer, ops };
  }

  private fetch(payload: Payload): Payload {
    const from = Number(payload["from"]);
    if (payload["epoch"] !== this.epoch) throw new StrettoError("epoch_changed", "epoch");
    if (from > this.version + 1) throw new StrettoError("version_ahead", "ahead");
    if (from <= this.floor) throw new StrettoError("version_gone", "gone");
    const ops = this.entries.slice(from - 1, from - 1 + this.pageEntries);
    return { from, ops, hash: this.hashes[from - 1 + ops.length], version: this.version };
  }

  private submit(payload: Payload): Payload {
    const client = String(payload["client"]);
    const seq = Number(payload["seq"]);
    const base = Number(payload["base"]);
    const record = this.record(client);
    if (payload["epoch"] !== this.epoch) {
      const details = { epoch: this.epoch };
      throw new StrettoError("epoch_changed", "epoch", { details });
    }
    if (record.fenced) throw new StrettoError("sequence_gap", "fenced");
    if (seq === record.lastSeq) return { version: record.version };
    if (seq !== record.lastSeq + 1) throw new StrettoError("sequence_gap", "gap");
    if (base > this.version) throw new StrettoError("version_ahead", "ahead");
    if (base < this.floor) throw new StrettoError("version_gone", "gone");
    if (base < record.version) throw new StrettoError("invalid_request", "base");
    let op = normalize(payload["op"]);
    if (op.includes("REFUSE")) throw new StrettoError("too_large", "refused by the test");
    for (const entry of this.entries.slice(base)) op = transform(op, entry.op, "left");
    DocumentText.of(this.text).changes(op);
    this.commit(client, seq, op);
    return { version: this.version };
  }
}

/** The lives of Python's replicas, lived again: the same calls lead to the same text and requests. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { ReplicaRequest } from "../src/effects.js";
import { errorFromPayload } from "../src/errors.js";
import type { Operation } from "../src/operation.js";
import type { Payload } from "../src/protocol.js";
import { Replica } from "../src/replica.js";

interface Step {
  readonly call: string;
  readonly client: string;
  readonly op: Operation;
  readonly request: number;
  readonly answer: Payload;
  readonly error: Payload;
  readonly event: string;
  readonly payload: Payload;
  readonly text?: string;
  readonly version?: number;
  readonly saved?: boolean;
}

interface Wanted {
  readonly event: string;
  readonly payload: Payload;
}

interface Life {
  readonly doc: string;
  readonly limits: { readonly op_components: number; readonly op_inserted: number };
  readonly steps: readonly Step[];
}

const FILE = new URL("../../../tests/vectors/replica.jsonl.gz", import.meta.url);
const lives: Life[] = gunzipSync(readFileSync(FILE))
  .toString("utf8")
  .trimEnd()
  .split("\n")
  .slice(1)
  .map((line) => JSON.parse(line) as Life);

/** Do what one step says; return the request when one is wanted. */
function perform(replica: Replica, step: Step, requests: ReplicaRequest[]): void {
  const asked = (): ReplicaRequest => requests[step.request] as ReplicaRequest;
  switch (step.call) {
    case "edit":
      replica.edit(step.op);
      break;
    case "answered":
      replica.answered(asked(), step.answer);
      break;
    case "failed":
      replica.failed(asked(), errorFromPayload(step.error));
      break;
    case "received":
      replica.received(step.event, step.payload);
      break;
    case "disconnected":
      replica.disconnected();
      break;
    case "next_request": {
      const request = replica.nextRequest();
      const wanted = step.request as unknown as Wanted | null;
      expect(request && { event: request.event, payload: request.payload }).toEqual(wanted);
      if (request !== null) requests.push(request);
    }
  }
}

describe("lives of replicas", () => {
  it.each(lives.map((life, number) => [number, life] as const))("life %i", (_number, life) => {
    const clients = life.steps.filter((step) => step.call === "client").map((step) => step.client);
    const replica = new Replica(life.doc, () => clients.shift() ?? "client-of-a-later-step");
    replica.limits = { ...replica.limits, ...life.limits };
    const requests: ReplicaRequest[] = [];
    life.steps.forEach((step, number) => {
      perform(replica, step, requests);
      if (step.text === undefined) return;
      const shown = {
        text: replica.text.toString(),
        version: replica.version,
        saved: replica.isSaved,
      };
      const { text, version, saved } = step;
      expect(shown, `step ${number}: ${step.call}`).toEqual({ text, version, saved });
    });
  });
});

import { describe, expect, it } from "vitest";
import { StrettoError } from "../src/errors.js";
import { Replica } from "../src/replica.js";
import { Authority } from "./authority.js";
import { Network, type Site } from "./network.js";
import { Random, randomEdit } from "./random.js";

interface Pair {
  readonly authority: Authority;
  readonly network: Network;
  readonly a: Site;
  readonly b: Site;
}

/** Two replicas of one document, both open, with this text. */
function pair(text = ""): Pair {
  const authority = new Authority();
  const network = new Network(authority);
  const [a, b] = [network.site("a"), network.site("b")];
  network.settle();
  if (text !== "") a.type(text);
  network.settle();
  return { authority, network, a, b };
}

function expectAll({ authority, a, b }: Pair, text: string): void {
  expect([authority.text, a.text, b.text]).toEqual([text, text, text]);
  expect([a.replica.isSaved, b.replica.isSaved]).toEqual([true, true]);
  for (const site of [a, b]) expect(site.text).toBe(site.replica.text.toString());
}

function kinds(site: Site): string[] {
  return site.effects.map(({ kind }) => kind);
}

describe("two replicas", () => {
  it.each([true, false])("converge on concurrent inserts (acks first: %s)", (acksFirst) => {
    const p = pair("-");
    p.network.acksFirst = acksFirst;
    p.a.type("A");
    p.b.type("B");
    p.network.settle();
    expectAll(p, "BA-"); // the later commit goes left
  });

  it("do not interleave runs typed at one place", () => {
    const p = pair();
    for (const [i, char] of [..."abc"].entries()) p.a.type(char, i);
    for (const [i, char] of [..."xyz"].entries()) p.b.type(char, i);
    p.network.settle();
    expectAll(p, "xyzabc");
  });

  it("keep one operation in flight and compose the rest", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.type("2", 1);
    p.a.type("3", 2);
    p.network.settle();
    expectAll(p, "123");
    expect(p.authority.entries.map(({ op }) => op)).toEqual([["1"], [1, "23"]]);
  });

  it("wait with the next operation for the own entry, not for the ack", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.arrive();
    p.a.receive(); // the ack
    p.a.type("2", 1);
    p.a.send();
    expect(p.a.arrive()).toBe(false);
    p.network.settle();
    expectAll(p, "12");
  });

  it("send nothing for an edit that was taken back before it left", () => {
    const p = pair();
    p.a.type("x");
    p.a.edit([-1]);
    expect(p.a.replica.isSaved).toBe(true);
    expect(p.a.replica.counts).toEqual({ made: 2, settled: 2 });
  });

  it("handle astral characters", () => {
    const p = pair("😀😀");
    p.a.edit([1, "🎼"]);
    p.b.edit([1, -1, "!"]);
    p.network.settle();
    expectAll(p, "😀🎼!");
  });
});

describe("a gap in the stream", () => {
  it("is fetched, and what came early is applied once", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.arrive();
    p.b.dropFrame();
    p.network.settle();
    p.a.type("2", 1);
    p.network.settle();
    expectAll(p, "12");
  });

  it("longer than a page is fetched page by page", () => {
    const p = pair();
    p.authority.pageEntries = 2;
    p.b.disconnect();
    for (const [i, char] of [..."abcdefg"].entries()) {
      p.a.type(char, i);
      p.network.settle();
    }
    p.b.connect();
    p.network.settle();
    expectAll(p, "abcdefg");
  });

  it("continues where it was when the connection is lost between two pages", () => {
    const p = pair();
    p.authority.pageEntries = 2;
    p.b.disconnect();
    for (const char of "abcde") {
      p.a.type(char);
      p.network.settle();
    }
    p.b.connect();
    p.b.send();
    p.b.arrive();
    p.b.receive();
    p.b.disconnect();
    p.b.connect();
    p.network.settle();
    expectAll(p, "edcba");
    expect(kinds(p.b)).not.toContain("replaced");
  });

  it("made by two frames out of order closes", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.arrive();
    const first = p.authority.frame(1);
    p.a.receive();
    p.a.receive();
    p.a.type("2", 1);
    p.a.send();
    p.a.arrive();
    const second = p.authority.frame(2);
    const { replica } = p.b;
    p.b.dropFrame();
    p.b.dropFrame();
    replica.received("ops", second);
    replica.received("ops", first);
    expect(replica.text.toString()).toBe("12");
    replica.received("ops", first);
    expect(replica.text.toString()).toBe("12");
  });
});

describe("a lost connection", () => {
  it("before the submit arrived: it is sent again", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.disconnect(0);
    p.a.type("2", 1);
    p.a.connect();
    p.network.settle();
    expectAll(p, "12");
  });

  it("after the submit arrived: it commits once", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    p.a.disconnect(1);
    expect(p.authority.text).toBe("1");
    p.a.type("2", 1);
    p.a.connect();
    p.network.settle();
    expectAll(p, "12");
    expect(p.authority.version).toBe(2);
  });

  it("keeps counting edits until they are settled", () => {
    const p = pair();
    p.a.disconnect();
    p.a.type("1");
    p.a.type("2");
    expect(p.a.replica.counts).toEqual({ made: 2, settled: 0 });
    p.a.connect();
    p.network.settle();
    expect(p.a.replica.counts).toEqual({ made: 2, settled: 2 });
  });

  it("ignores what an older connection still answers", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    const { replica } = p.a;
    p.a.disconnect(0);
    p.a.connect();
    p.a.send();
    p.a.arrive();
    const request = { event: "open", payload: {}, connection: 0 } as const;
    expect(replica.answered(request, { content: "stale", members: [] })).toEqual([]);
    p.network.settle();
    expectAll(p, "1");
  });
});

describe("a refused operation", () => {
  it("is taken back under what was typed since, and its text is handed out", () => {
    const p = pair("ab");
    p.a.edit([1, "REFUSE"]);
    p.a.send();
    p.a.type("!", 8);
    p.b.type("?");
    p.network.settle();
    expectAll(p, "?ab!");
    expect(p.a.effects).toContainEqual(
      expect.objectContaining({ kind: "returned", origin: "refused", text: "REFUSE" }),
    );
  });

  it("takes no seq", () => {
    const p = pair();
    p.a.type("REFUSE");
    p.network.settle();
    p.a.type("x");
    p.network.settle();
    expect(p.authority.entries.at(-1)).toMatchObject({ seq: 1, op: ["x"] });
  });
});

describe("errors", () => {
  it("token_expired holds the operation until the refresh", () => {
    const p = pair();
    p.a.type("x");
    const request = p.a.replica.nextRequest();
    if (request === null) throw new Error("nothing to send");
    p.a.replica.failed(request, new StrettoError("token_expired", ""));
    expect(p.a.replica.nextRequest()).toBeNull();
    p.a.replica.resend();
    expect(p.a.replica.nextRequest()).toEqual(request);
  });

  it("rate_limited lets the same submit be sent again", () => {
    const p = pair();
    p.a.type("x");
    const request = p.a.replica.nextRequest();
    if (request === null) throw new Error("nothing to send");
    p.a.replica.failed(request, new StrettoError("rate_limited", ""));
    expect(p.a.replica.nextRequest()).toEqual(request);
  });

  it("of an unknown outcome open again, then send the same seq", () => {
    const p = pair();
    p.a.type("x");
    p.a.send();
    p.a.fail();
    const open = p.a.replica.nextRequest();
    expect(open).toMatchObject({ event: "open", payload: { since: { version: 0 } } });
  });

  it("of an open that cannot pass close the document", () => {
    const p = pair();
    p.a.disconnect();
    p.a.type("unsent");
    const request = p.a.replica.nextRequest();
    if (request === null) throw new Error("nothing to send");
    const effects = p.a.replica.failed(request, new StrettoError("not_found", "gone"));
    expect(effects).toMatchObject([{ kind: "closed", text: "unsent" }]);
    expect(() => p.a.type("more")).toThrow("gone");
    expect(p.a.replica.nextRequest()).toBeNull();
  });

  it("forbid a viewer's edits at once", () => {
    const p = pair("x");
    p.a.replica.received("role", { doc: "d", role: "viewer" });
    expect(() => p.a.type("y")).toThrow("only read");
  });
});

describe("what an earlier sending may still do", () => {
  it("a refusal is believed only behind a fence", () => {
    const p = pair("-");
    p.a.type("REFUSE");
    p.a.send();
    p.a.disconnect(0); // sent, and no answer
    p.a.connect();
    p.network.settle();
    expectAll(p, "-");
    expect(p.a.effects).toContainEqual(
      expect.objectContaining({ kind: "returned", origin: "refused", text: "REFUSE" }),
    );
    expect(p.authority.entries.length).toBe(1);
    p.a.type("x");
    p.network.settle();
    expect(p.authority.entries.at(-1)).toMatchObject({ client: "a-2".padEnd(16, "-"), seq: 1 });
  });

  it("another process that goes on from our state is left our client", () => {
    const p = pair("-");
    const { version: base, epoch } = p.authority;
    const client = "a-1".padEnd(16, "-");
    p.authority.answer("submit", { epoch, client, seq: 2, base, op: ["theirs"] });
    for (const site of [p.a, p.b]) site.push("ops", p.authority.frame(base + 1));
    p.a.receive();
    p.a.type("mine");
    p.network.settle();
    expectAll(p, "minetheirs-");
    expect(p.authority.entries.at(-1)?.client).toBe("a-2".padEnd(16, "-"));
  });
});

describe("a replica that goes on in another tab", () => {
  it("has the text, the edits, and sends what was in flight under its seq", () => {
    const p = pair("base 😀");
    p.a.type("1");
    p.a.send();
    p.a.disconnect(1); // it committed
    p.a.type("2", 1);
    const { state, confirmed } = { state: p.a.replica.state(), confirmed: p.a.replica.confirmed };
    const json = JSON.parse(JSON.stringify(state));
    const heir = Replica.restore(
      json,
      confirmed.toString(),
      [],
      () => "heir".padEnd(16, "-"),
      false,
    );
    expect(heir.text.toString()).toBe("12base 😀");
    const open = heir.nextRequest();
    expect(open?.payload).toMatchObject({ client: state.client, since: { version: 1 } });
    if (open === null) return;
    heir.answered(open, p.authority.answer("open", open.payload));
    expect(heir.nextRequest()).toMatchObject({ event: "submit", payload: { seq: 3, base: 2 } });
  });
});

describe("a replaced history", () => {
  it("with another epoch keeps what is unsent and hands out the text", () => {
    const p = pair("one two");
    p.b.disconnect();
    p.b.type("!", 7);
    p.authority.replace("zero one two");
    p.a.push("reset", { doc: "d", epoch: "e2", version: 1, hash: "" });
    p.b.connect();
    p.network.settle();
    expectAll(p, "zero one two!");
    expect(p.b.effects).toContainEqual(
      expect.objectContaining({ kind: "returned", origin: "replaced", text: "one two!" }),
    );
  });

  it("that others wrote on after its loss hands out the text", () => {
    const p = pair("one");
    p.a.type("!", 3);
    p.network.settle();
    p.a.disconnect();
    p.b.disconnect();
    p.authority.rollBack(1);
    for (const at of [0, 1]) {
      const submit = { epoch: "e1", client: "elsewhere-elsewhere", seq: at + 1, base: 1 + at };
      p.authority.answer("submit", { ...submit, op: [">"] });
    }
    p.a.connect();
    p.b.connect();
    p.network.settle();
    expectAll(p, ">>one");
    expect(p.a.effects).toContainEqual(
      expect.objectContaining({ kind: "returned", origin: "replaced", text: "one!" }),
    );
  });

  for (const told of ["answer", "reset", "ops"]) {
    it(`is remembered by ${told} even if its new epoch is lost as well`, () => {
      const p = pair("one");
      p.a.type("!", 3);
      p.network.settle();
      p.b.disconnect();
      const { epoch } = p.authority;
      p.authority.epoch = "e2";
      if (told === "reset") p.a.push("reset", { doc: "d", epoch: "e2", version: 1, hash: "" });
      if (told === "ops") p.network.broadcast({ ...p.authority.frame(1), epoch: "e2" });
      p.a.type("?", 4);
      if (told === "answer") {
        p.a.send();
        p.a.arrive();
      }
      while (p.a.receive());
      p.a.disconnect();
      p.authority.epoch = epoch;
      p.authority.rollBack(1);
      for (const at of [0, 1]) {
        const submit = { epoch, client: "elsewhere-elsewhere", seq: at + 1, base: 1 + at };
        p.authority.answer("submit", { ...submit, op: [">"] });
      }
      p.a.connect();
      p.b.connect();
      p.network.settle();
      expectAll(p, ">>one?");
      expect(p.a.effects).toContainEqual(
        expect.objectContaining({ kind: "returned", origin: "replaced", text: "one!?" }),
      );
    });
  }

  it("that was compacted hands out nothing", () => {
    const p = pair("one");
    p.a.disconnect();
    p.b.type("!", 3);
    p.network.settle();
    p.authority.floor = p.authority.version;
    p.a.connect();
    p.network.settle();
    expectAll(p, "one!");
    expect(p.a.effects.filter((effect) => effect.kind === "returned")).toEqual([]);
  });

  it("is remembered until the fence is answered, though it has grown by then", () => {
    const p = pair("one");
    p.a.type("!", 3);
    p.network.settle();
    p.a.disconnect();
    p.b.disconnect();
    p.authority.rollBack(1);
    p.a.type("?", 4);
    p.a.connect();
    p.a.send();
    p.a.arrive();
    p.a.receive(); // shorter than what it has
    for (const at of [0, 1, 2]) {
      // Others write on, before the fence arrives.
      const submit = { epoch: "e1", client: "elsewhere-elsewhere", seq: at + 1, base: 1 + at };
      p.authority.answer("submit", { ...submit, op: [">"] });
    }
    p.b.connect();
    p.network.settle();
    expectAll(p, ">>>one?");
    expect(p.a.effects).toContainEqual(
      expect.objectContaining({ kind: "returned", origin: "replaced", text: "one!?" }),
    );
  });

  it("notices that the operation in flight had been committed", () => {
    const p = pair("-");
    p.a.type("1");
    p.a.send();
    p.a.disconnect(1); // it committed, and nobody told us
    p.a.type("2", 1);
    p.b.receive();
    p.b.type("B", 2);
    p.network.settle();
    p.authority.floor = p.authority.version; // what lies between was compacted away
    p.a.connect();
    p.network.settle();
    expectAll(p, p.authority.text);
    expect([...p.authority.text].sort().join("")).toBe("-12B");
  });

  it("fences what may still be under way", () => {
    const p = pair();
    p.a.type("1");
    p.a.send();
    const late = {
      doc: "d",
      epoch: "e1",
      client: "a-1".padEnd(16, "-"),
      seq: 1,
      base: 0,
      op: ["1"],
    };
    p.a.disconnect(0);
    p.b.type("B");
    p.network.settle();
    p.authority.floor = p.authority.version;
    p.a.connect();
    p.network.settle();
    expect(() => p.authority.answer("submit", late)).toThrow("fenced");
    expectAll(p, "1B");
  });

  it("is a sequence gap, too: another tab used our client", () => {
    const p = pair();
    p.authority.answer("submit", {
      epoch: "e1",
      client: "a-1".padEnd(16, "-"),
      seq: 1,
      base: 0,
      op: ["other"],
    });
    p.b.push("ops", p.authority.frame(1));
    p.a.type("mine");
    p.a.send();
    p.a.arrive(); // answered as if it were the other's
    p.a.disconnect();
    p.a.connect();
    p.network.settle();
    expect(p.a.text).toBe(p.authority.text);
    expect(p.b.text).toBe(p.authority.text);
  });
});

describe("an entry that does not fit", () => {
  it("makes the replica start over from the authority's text", () => {
    const p = pair("abc");
    const ops = [{ client: "x".repeat(16), seq: 1, op: [50, "x"], user: "x", at_ms: 0 }];
    p.a.push("ops", { doc: "d", epoch: "e1", from: 2, ops, hash: "0".repeat(16) });
    p.network.settle();
    p.a.type("!", 3);
    p.network.settle();
    expectAll(p, "abc!");
  });
});

describe("seeded random sessions", () => {
  it.each(Array.from({ length: 60 }, (_, seed) => seed))("seed %d converges", (seed) => {
    const random = new Random(seed);
    const authority = new Authority();
    const network = new Network(authority);
    const sites = ["a", "b", "c"].map((name) => network.site(name));
    network.settle();
    authority.pageEntries = 1 + random.below(5);
    for (let step = 0; step < 250; step++) {
      network.acksFirst = random.chance(0.5);
      const site = random.pick(sites);
      const dice = random.next();
      if (dice < 0.35) site.edit(randomEdit(random, site.text));
      else if (dice < 0.55) site.send();
      else if (dice < 0.72) site.arrive();
      else if (dice < 0.9) site.receive();
      else if (dice < 0.92) site.dropFrame();
      else if (dice < 0.94) site.fail();
      else if (dice < 0.97) site.disconnect(random.below(3));
      else if (dice < 0.975) authority.floor = Math.max(0, authority.version - random.below(5));
      else if (dice < 0.977) authority.replace(random.text());
      else site.connect();
    }
    authority.pageEntries = 500;
    for (const site of sites) {
      site.disconnect();
      site.connect();
    }
    network.settle();
    for (const site of sites) {
      expect(site.text).toBe(authority.text);
      expect(site.replica.text.toString()).toBe(authority.text);
      expect(site.replica.isSaved).toBe(true);
      const { made, settled } = site.replica.counts;
      expect(settled).toBe(made);
    }
  });

  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "seed %d loses and doubles nothing",
    (seed) => {
      // Every edit inserts a marker of its own, and nobody deletes.
      const random = new Random(1000 + seed);
      const authority = new Authority();
      const network = new Network(authority);
      const sites = ["a", "b", "c"].map((name) => network.site(name));
      network.settle();
      let markers = 0;
      for (let step = 0; step < 300; step++) {
        network.acksFirst = random.chance(0.5);
        const site = random.pick(sites);
        const dice = random.next();
        if (dice < 0.35) {
          const marker = String.fromCodePoint(0x1f300 + markers++);
          site.type(marker, random.below(site.replica.text.points + 1));
        } else if (dice < 0.55) site.send();
        else if (dice < 0.72) site.arrive();
        else if (dice < 0.88) site.receive();
        else if (dice < 0.91) site.dropFrame();
        else if (dice < 0.93) site.fail();
        else if (dice < 0.96) site.disconnect(random.below(3));
        else if (dice < 0.97) authority.floor = Math.max(0, authority.version - random.below(5));
        else site.connect();
      }
      for (const site of sites) {
        site.disconnect();
        site.connect();
      }
      network.settle();
      const found = [...authority.text].sort();
      expect(found.length).toBe(markers);
      expect(new Set(found).size).toBe(markers);
      for (const site of sites) expect(site.text).toBe(authority.text);
    },
  );
});

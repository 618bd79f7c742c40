/** What is generated from the protocol, judged by AsyncAPI's own parser. */
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import { describe, expect, it } from "vitest";

const ERROR = 0;
const text = readFileSync(new URL("../../../docs/asyncapi.json", import.meta.url), "utf8");

describe("docs/asyncapi.json", () => {
  it("is valid AsyncAPI 3", async () => {
    const { document, diagnostics } = await new Parser().parse(text);
    expect(diagnostics.filter((finding) => finding.severity === ERROR)).toEqual([]);
    expect(document?.version()).toBe("3.0.0");
  });

  it("has the channels and every message of them", async () => {
    const { document } = await new Parser().parse(text);
    const channels = document?.channels().all() ?? [];
    expect(channels.map((channel) => channel.address())).toEqual(["/", "/docs", "/rooms"]);
    for (const channel of channels) expect(channel.messages().all().length).toBeGreaterThan(4);
  });
});

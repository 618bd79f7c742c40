/** What the page says about the state of things: pure, so that it can be tested. */
import type { ConnectionState, Role, Status } from "stretto-client";

/** What the indicator shows. */
export interface Indicator {
  readonly state: "connecting" | "saved" | "saving" | "offline" | "stopped";
  readonly text: string;
}

/** Everything that the indicator depends on. */
export interface Situation {
  readonly opened: boolean;
  readonly connection: ConnectionState;
  readonly status: Status;
  readonly unsent: number;
  readonly role: Role;
  readonly closed: boolean;
}

/** Return what to say. "Saved" only when the server has everything. */
export function indicator(now: Situation): Indicator {
  if (now.closed) return { state: "stopped", text: "Closed" };
  if (now.connection === "refused") return { state: "stopped", text: "Not admitted" };
  if (!now.opened) return { state: "connecting", text: "Connecting…" };
  if (now.status === "offline") return { state: "offline", text: offline(now.unsent) };
  if (now.status === "saving") return { state: "saving", text: "Saving…" };
  if (now.role === "viewer") return { state: "saved", text: "Read only" };
  return { state: "saved", text: "All changes saved" };
}

function offline(unsent: number): string {
  if (unsent === 0) return "Offline";
  return `Offline — ${unsent} unsent ${unsent === 1 ? "edit" : "edits"}`;
}

/** Return what the banner says while there is no connection. */
export function offlineBanner(unsent: number): string {
  if (unsent === 0) return "You are offline. Keep writing: edits are delivered once you are back.";
  const edits = unsent === 1 ? "1 edit waits" : `${unsent} edits wait`;
  return `You are offline. Keep writing: ${edits} in this browser to be delivered once you are back.`;
}

/** Return the title of a document, of which `text` is the beginning: its first line that says something. */
export function titleOf(text: string): string {
  const line = /\S.*/.exec(text)?.[0] ?? "";
  const title = line.replace(/^#+\s*/, "").trim();
  return [...title].slice(0, 80).join("") || "Untitled";
}

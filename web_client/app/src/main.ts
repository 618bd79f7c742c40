/** The page: one document, edited together. */
import { type LiveDocument, RealtimeClient, StrettoError } from "stretto-client";
import { askName, askToken } from "./dialogs";
import { createEditor } from "./editor";
import { element } from "./elements";
import {
  forgetToken,
  givenToken,
  guestToken,
  storedName,
  storeName,
  storeToken,
  TokenNeeded,
} from "./identity";
import { documentName, guestName, isDocumentName } from "./names";
import { copy, Notices } from "./notices";
import { peopleOf, showPeople } from "./people";
import { indicator, titleOf } from "./presentation";
import "./style.css";

/** An offline spell shorter than this gets no banner. */
const BANNER_MS = 1_200;
/** "Saving…" stays at least this long after the last edit, so that it does not flicker. */
const CALM_MS = 250;
const OFFLINE =
  "You are offline. Keep writing: edits stay in this tab and are delivered once you are back.";

const notices = new Notices(element("notices"));

void start();

async function start(): Promise<void> {
  const id = documentOfAddress();
  element("share").addEventListener("click", () => void share(id));
  if (!isDocumentName(id)) {
    stop("This address names no document. Start a new one with the link at the top left.");
    return;
  }
  try {
    const client = await connectedClient();
    showState(client, null);
    client.on("connection.state", () => showState(client, null));
    const doc = await client.open(id);
    present(client, doc);
  } catch (reason) {
    stop(explain(reason));
  }
}

/** Return the id in the address; where there is none, put a new one there. */
function documentOfAddress(): string {
  const given = new URLSearchParams(location.search).get("doc");
  if (given !== null && given !== "") return given;
  const id = documentName(Math.random);
  history.replaceState(null, "", `?doc=${id}${location.hash}`);
  return id;
}

/** Return a client that the server let in: with the token brought along, or as a guest. */
async function connectedClient(): Promise<RealtimeClient> {
  let token = givenToken();
  if (token === null && (await becomeGuest())) {
    const client = new RealtimeClient({ getToken: guestToken });
    await client.connect();
    return client;
  }
  token ??= await askToken("It does not know you yet, and it has no guests.");
  for (;;) {
    const client = new RealtimeClient({ auth: { token } });
    try {
      await client.connect();
      storeToken(token);
      return client;
    } catch (reason) {
      client.close();
      forgetToken();
      token = await askToken(`The token was not accepted: ${asMessage(reason)}.`);
    }
  }
}

/** Get a guest's token, under a name of the guest's choice; false where there are none. */
async function becomeGuest(): Promise<boolean> {
  try {
    await guestToken();
  } catch (reason) {
    if (reason instanceof TokenNeeded) return false;
    throw reason;
  }
  if (storedName() === "") storeName(await askName(guestName(Math.random)));
  element("rename").hidden = false;
  return true;
}

/** Show the document and everything about it. */
function present(client: RealtimeClient, doc: LiveDocument): void {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
  const main = element("editor");
  const view = createEditor(doc, main, nonce);
  main.removeAttribute("aria-busy");
  view.focus();

  const state = (): void => showState(client, doc);
  const people = (): void => {
    const here = peopleOf(doc.members, doc.memberId);
    showPeople(here, element("people-summary"), element("people-list"));
  };
  const title = (): void => showTitle(doc.text);
  client.on("connection.state", state);
  doc.on("status", state);
  doc.on("role", state);
  doc.on("change", () => {
    state();
    title();
  });
  doc.on("members", people);
  doc.on("refused", ({ error, text }) => {
    notices.giveBack(`An edit was not accepted and taken back: ${error.message}.`, text);
  });
  doc.on("replaced", ({ text }) => {
    notices.giveBack("This document was replaced by another version. You had seen:", text);
  });
  doc.on("closed", ({ error, text }) => {
    state();
    notices.giveBack(`This document cannot be edited any more: ${error.message}.`, text);
  });
  element("rename").addEventListener("click", () => void rename(doc));
  window.addEventListener("beforeunload", (event) => {
    if (doc.unsent > 0) event.preventDefault();
  });
  closeOnOutsideClick(element("people", HTMLDetailsElement));
  state();
  people();
  title();
}

let bannerTimer: ReturnType<typeof setTimeout> | undefined;
let calmTimer: ReturnType<typeof setTimeout> | undefined;

/** Show the state of the connection and of the document. */
function showState(client: RealtimeClient, doc: LiveDocument | null): void {
  const shown = indicator({
    opened: doc !== null,
    connection: client.state,
    status: doc?.status ?? "offline",
    unsent: doc?.unsent ?? 0,
    role: doc?.role ?? "viewer",
    closed: doc?.isClosed ?? false,
  });
  const status = element("status");
  const apply = (): void => {
    status.dataset["state"] = shown.state;
    element("status-text").textContent = shown.text;
    element("people").classList.toggle(
      "stale",
      shown.state !== "saved" && shown.state !== "saving",
    );
  };
  clearTimeout(calmTimer);
  if (shown.state === "saved" && status.dataset["state"] === "saving") {
    calmTimer = setTimeout(apply, CALM_MS);
  } else {
    apply();
  }
  clearTimeout(bannerTimer);
  if (shown.state !== "offline") showBanner("");
  else if (element("banner").hidden) bannerTimer = setTimeout(showBanner, BANNER_MS, OFFLINE);
}

function showBanner(text: string): void {
  const banner = element("banner");
  banner.textContent = text;
  banner.hidden = text === "";
}

function showTitle(text: string): void {
  const title = titleOf(text);
  element("title").textContent = title;
  document.title = `${title} · Stretto`;
}

/** Say that nothing more will happen, and why. */
function stop(message: string): void {
  const status = element("status");
  status.dataset["state"] = "stopped";
  element("status-text").textContent = "Not open";
  showBanner(message);
}

async function share(id: string): Promise<void> {
  const url = new URL(location.href);
  url.hash = "";
  url.search = `?doc=${encodeURIComponent(id).replaceAll("%2F", "/")}`;
  if (await copy(url.href)) notices.say("Link copied. Whoever has it can write along.");
  else notices.giveBack("Copy this link:", url.href);
}

/** Change the guest's name: it is part of the token, so the page starts over. */
async function rename(doc: LiveDocument): Promise<void> {
  const name = await askName(storedName());
  if (name === storedName()) return;
  if (doc.unsent > 0) notices.say("Your name changes once everything is saved.");
  await doc.saved();
  storeName(name);
  location.reload();
}

function closeOnOutsideClick(details: HTMLDetailsElement): void {
  document.addEventListener("click", (event) => {
    if (!details.contains(event.target as Node)) details.open = false;
  });
  details.addEventListener("keydown", (event) => {
    if (event.key === "Escape") details.open = false;
  });
}

function explain(reason: unknown): string {
  if (!(reason instanceof StrettoError)) {
    return `Something went wrong: ${asMessage(reason)}.`;
  }
  if (reason.code === "not_found") return "There is no such document, or it is not yours to see.";
  if (reason.code === "room_full") return "This document is full at the moment. Try again later.";
  return `The document cannot be opened: ${reason.message}.`;
}

function asMessage(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

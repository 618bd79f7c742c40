/** The page: the documents of this browser, and one of them, edited together. */
import { type LiveDocument, type RealtimeClient, StrettoError } from "stretto-client";
import { Activity } from "./activity";
import { admittedClient } from "./admission";
import { Chat, roomOf, showMissing } from "./chat";
import { askName } from "./dialogs";
import { createEditor } from "./editor";
import { element } from "./elements";
import { storedName, storeName } from "./identity";
import { Library } from "./library";
import { documentName, isDocumentName } from "./names";
import { copy, Notices } from "./notices";
import { Panel } from "./panels";
import { peopleOf, showPeople } from "./people";
import { titleOf } from "./presentation";
import { Preview, previewed } from "./preview";
import { Shelf } from "./shelf";
import { StatusLine } from "./status";
import { PreviewSwitch } from "./switch";
import "./style.css";

/** A title is looked for in so much of the text. */
const TITLE_WITHIN = 2_000;
/** An edit is kept in this browser within this time. */
const KEPT_WITHIN_MS = 1_000;
/** How often it is looked who has become idle. */
const IDLE_CHECK_MS = 5_000;

const notices = new Notices(element("notices"));
const status = new StatusLine();
const library = new Library();

void start();

async function start(): Promise<void> {
  const id = documentOfAddress();
  const shelf = new Shelf(library, id);
  try {
    if (id === null) await showShelf();
    else if (isDocumentName(id)) await showDocument(id, shelf);
    else status.stop("This address names no document. Start a new one from the list.");
  } catch (reason) {
    status.stop(explain(reason));
  }
}

/**
 * Return the id in the address, null for the list of documents. Whoever has no documents yet,
 * or asks for a new one, gets one.
 */
function documentOfAddress(): string | null {
  const query = new URLSearchParams(location.search);
  const given = query.get("doc") ?? "";
  if (given !== "") return given;
  if (!query.has("new") && library.list.length > 0) return null;
  const id = documentName(Math.random);
  history.replaceState(null, "", `?doc=${id}${location.hash}`);
  return id;
}

/** Show the start page, and deliver meanwhile what is still unsent. */
async function showShelf(): Promise<void> {
  document.body.classList.add("start");
  element("documents").hidden = false;
  const client = await admittedClient(notices);
  await deliverUnsent(client, null);
}

async function showDocument(id: string, shelf: Shelf): Promise<void> {
  new Panel("documents", "documents-new");
  element("share").addEventListener("click", () => void share(id));
  const client = await admittedClient(notices);
  status.show(client, null);
  const opening = client.on("connection.state", () => status.show(client, null));
  const doc = await client.open(id);
  opening();
  if (doc.unsent > 0) notices.say("Edits that a closed tab left unsent are being delivered.");
  present(client, doc, shelf);
  await Promise.all([chat(client, id), deliverUnsent(client, id)]);
}

/** Show the document and everything about it. */
function present(client: RealtimeClient, doc: LiveDocument, shelf: Shelf): void {
  const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
  const main = element("editor");
  const view = createEditor(
    doc,
    main,
    nonce,
    previewed(() => preview),
  );
  const preview = new Preview(view, element("preview"));
  new PreviewSwitch(() => preview.schedule(0));
  main.removeAttribute("aria-busy");
  view.focus();

  const show = (): void => status.show(client, doc);
  const title = (): void => {
    const found = titleOf(view.state.doc.sliceString(0, TITLE_WITHIN));
    if (element("title").textContent !== found) showTitle(found, shelf);
  };
  client.on("connection.state", show);
  doc.on("status", show);
  doc.on("role", show);
  doc.on("change", () => {
    show();
    title();
  });
  doc.on("closed", show);
  handBack(doc);
  element("rename").addEventListener("click", () => void rename(doc));
  guardLeaving(doc);
  closeOnOutsideClick(element("people", HTMLDetailsElement));
  watchPeople(doc);
  show();
  showTitle(titleOf(view.state.doc.sliceString(0, TITLE_WITHIN)), shelf);
}

/** Give the user's text back where it could not stay in the document. */
function handBack(doc: LiveDocument): void {
  doc.on("returned", ({ origin, text, error }) => {
    const message =
      origin === "refused"
        ? `An edit was not accepted and taken back: ${error?.message ?? "no reason was given"}.`
        : "This document was replaced by another version. You had seen:";
    notices.giveBack(message, text);
  });
  doc.on("closed", ({ error, text }) => {
    notices.giveBack(`This document cannot be edited any more: ${error.message}.`, text);
  });
}

/** Ask before the page is left with an edit that is neither saved nor, it may be, kept. */
function guardLeaving(doc: LiveDocument): void {
  let editedAt = 0;
  doc.on("change", ({ origin }) => {
    if (origin === "local") editedAt = Date.now();
  });
  window.addEventListener("beforeunload", (event) => {
    if (doc.unsent > 0 && Date.now() - editedAt < KEPT_WITHIN_MS) event.preventDefault();
  });
}

function watchPeople(doc: LiveDocument): void {
  const activity = new Activity();
  const people = (): void => {
    const here = peopleOf(doc.members, doc.memberId, activity, Date.now());
    showPeople(here, element("people-summary"), element("people-list"));
  };
  doc.on("presence", (members) => {
    activity.heard(members, Date.now());
    people();
  });
  doc.on("cursors", () => activity.carried(doc.members));
  doc.on("change", ({ user }) => {
    if (user !== undefined) activity.wrote(user, doc.members, Date.now());
  });
  activity.heard(doc.members, Date.now());
  setInterval(people, IDLE_CHECK_MS);
  people();
}

async function chat(client: RealtimeClient, id: string): Promise<void> {
  let shown: Chat | null = null;
  new Panel("chat", "chat-text", (open) => {
    if (open) shown?.opened();
  });
  const room = roomOf(id);
  if (room === null) return showMissing("the document's name is too long");
  try {
    shown = new Chat(await client.room(room, { status: "here", offline: "queue" }));
  } catch (reason) {
    showMissing(reason instanceof StrettoError ? reason.message : String(reason));
  }
}

/** Deliver what closed tabs left unsent in documents other than `shown`, and say so. */
async function deliverUnsent(client: RealtimeClient, shown: string | null): Promise<void> {
  for (const { doc: id, user } of await client.unsent()) {
    if (id === shown || user !== client.user?.id) continue;
    const title = library.titleOf(id);
    try {
      const doc = await client.open(id);
      if (doc.unsent === 0) {
        doc.close(); // another tab has it open
        continue;
      }
      doc.on("returned", ({ text }) => {
        notices.giveBack(`An edit of “${title}” was not accepted:`, text);
      });
      await doc.saved();
      doc.close();
      notices.say(`What was still unsent in “${title}” was delivered.`);
    } catch (reason) {
      notices.say(`What is unsent in “${title}” was not delivered: ${asMessage(reason)}.`);
    }
  }
}

function showTitle(title: string, shelf: Shelf): void {
  element("title").textContent = title;
  document.title = `${title} · Stretto`;
  shelf.retitle(title);
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
  if (!(reason instanceof StrettoError)) return `Something went wrong: ${asMessage(reason)}.`;
  if (reason.code === "not_found") return "There is no such document, or it is not yours to see.";
  if (reason.code === "room_full") return "This document is full at the moment. Try again later.";
  return `The document cannot be opened: ${reason.message}.`;
}

function asMessage(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}

/** Binds a plain `<textarea>` or `<input>` to a document: caret and selection stay in place. */
import type { LiveDocument } from "./document.js";
import type { TextChange } from "./document_events.js";
import { isHighSurrogate, isLowSurrogate, isWellFormed, type Operation } from "./operation.js";
import { compose, transform } from "./transform.js";
import { type Change, DocumentText, mapUnit } from "./units.js";

/** What can be bound. */
export type TextField = HTMLTextAreaElement | HTMLInputElement;

/**
 * Keep `field` and `doc` the same, in both directions, and tell the others where the caret is.
 * Returns a function that ends this and leaves the field as it is.
 *
 * The field is read-only while the document is. While an input method composes, the field is
 * left alone; what others did meanwhile appears when it is done.
 */
export function bindTextarea(doc: LiveDocument, field: TextField): () => void {
  return new Binding(doc, field).bind();
}

class Binding {
  /** The document's text that the field shows. */
  private shown: DocumentText;
  /** What happened to the document since, while an input method keeps the field to itself. */
  private missed: Operation | null = null;
  private isSending = false;
  private readonly wasReadOnly: boolean;

  constructor(
    private readonly doc: LiveDocument,
    private readonly field: TextField,
  ) {
    this.shown = DocumentText.of(doc.text);
    this.wasReadOnly = field.readOnly;
  }

  bind(): () => void {
    const { doc, field } = this;
    field.value = doc.text;
    this.setReadOnly();
    const leave = [
      doc.on("change", (change) => this.changed(change)),
      ...(["role", "presence", "closed"] as const).map((event) =>
        doc.on(event, () => this.setReadOnly()),
      ),
      listen(field, "input", () => this.typed()),
      listen(field, "compositionstart", () => {
        this.missed ??= [];
      }),
      listen(field, "compositionend", () => this.composed()),
      ...["select", "keyup", "pointerup", "focus"].map((event) =>
        listen(field, event, () => this.select()),
      ),
      listen(field, "blur", () => doc.setSelection(null)),
    ];
    return () => {
      for (const end of leave) end();
      field.readOnly = this.wasReadOnly;
      if (!doc.isClosed) doc.setSelection(null);
    };
  }

  private setReadOnly(): void {
    this.field.readOnly = this.wasReadOnly || this.doc.isClosed || this.doc.role === "viewer";
  }

  /** The user changed the field. */
  private typed(): void {
    if (this.missed !== null) return; // the input method is not done yet
    const before = this.shown.toString();
    const change = replacement(displayed(before), this.field);
    if (change === null) return;
    const given = inDocument(before, change);
    try {
      this.isSending = true;
      this.doc.applyChanges([given]);
      this.shown = this.shown.replaced([given]);
      this.select();
    } catch {
      this.field.value = this.doc.text; // the document would not have it: show what it has
      this.shown = DocumentText.of(this.doc.text);
    } finally {
      this.isSending = false;
    }
  }

  /** The input method is done: bring together what it and the others did. */
  private composed(): void {
    const missed = this.missed ?? [];
    this.missed = null;
    if (missed.length === 0) {
      this.typed();
      return;
    }
    const before = this.shown.toString();
    const change = replacement(displayed(before), this.field);
    let theirs = missed;
    try {
      if (change !== null) {
        const own = this.shown.operation([inDocument(before, change)]);
        this.isSending = true;
        this.doc.apply(transform(own, missed, "left"));
        this.shown = this.shown.apply(own);
        theirs = transform(missed, own, "right");
      }
    } catch {
      // The document would not have it: what it has is shown below.
    } finally {
      this.isSending = false;
    }
    this.show(this.shown.changes(theirs));
  }

  /** The document changed. */
  private changed({ op, changes }: TextChange): void {
    if (this.isSending) return;
    if (this.missed !== null) this.missed = compose(this.missed, op);
    else this.show(changes);
  }

  /** Show the document's text; `changes` say where the caret goes. */
  private show(changes: readonly Change[]): void {
    const { field } = this;
    const { selectionStart, selectionEnd, selectionDirection, scrollTop } = field;
    const before = this.shown.toString();
    this.shown = DocumentText.of(this.doc.text);
    const text = this.shown.toString();
    field.value = text;
    const moved = (at: number | null): number =>
      inField(text, mapUnit(inText(before, at ?? 0), changes, -1));
    field.setSelectionRange(
      moved(selectionStart),
      moved(selectionEnd),
      selectionDirection ?? undefined,
    );
    field.scrollTop = scrollTop;
  }

  private select(): void {
    const { selectionStart, selectionEnd, selectionDirection } = this.field;
    if (this.missed !== null || this.doc.isClosed) return;
    const text = this.shown.toString();
    const start = inText(text, selectionStart ?? 0);
    const end = inText(text, selectionEnd ?? 0);
    this.doc.setSelection([selectionDirection === "backward" ? [end, start] : [start, end]]);
  }
}

function listen(field: TextField, event: string, listener: () => void): () => void {
  field.addEventListener(event, listener);
  return () => field.removeEventListener(event, listener);
}

/** Return the one replacement that made `before` the value of the field, or null. */
export function replacement(
  before: string,
  field: Pick<TextField, "value" | "selectionEnd">,
): Change | null {
  const after = field.value;
  if (before === after) return null;
  const shorter = Math.min(before.length, after.length);
  // What stands behind the caret was there before: so of equal letters the right one is meant.
  const behind = Math.min(shorter, after.length - (field.selectionEnd ?? after.length));
  let end = 0;
  const same = (): boolean => before.at(-1 - end) === after.at(-1 - end);
  while (end < behind && same()) end++;
  let from = 0;
  while (from < shorter - end && before.charCodeAt(from) === after.charCodeAt(from)) from++;
  while (end < shorter - from && same()) end++;
  if (from > 0 && isHighSurrogate(before.charCodeAt(from - 1))) from--;
  if (end > 0 && isLowSurrogate(before.charCodeAt(before.length - end))) end--;
  const insert = after.slice(from, after.length - end);
  return { from, to: before.length - end, insert: wellFormed(insert) };
}

function wellFormed(text: string): string {
  return isWellFormed(text) ? text : text.replace(/\p{Surrogate}/gu, "\ufffd");
}

// A field shows every line end as a line feed; the document keeps what it has.

function displayed(text: string): string {
  return text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
}

function inField(text: string, unit: number): number {
  return text.includes("\r") ? displayed(text.slice(0, unit)).length : unit;
}

function inText(text: string, at: number): number {
  if (!text.includes("\r")) return at;
  let unit = 0;
  for (let left = at; left > 0 && unit < text.length; left--) {
    unit += text.startsWith("\r\n", unit) ? 2 : 1;
  }
  return unit;
}

function inDocument(text: string, { from, to, insert }: Change): Change {
  return { from: inText(text, from), to: inText(text, to), insert };
}

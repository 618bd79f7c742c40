/** The CodeMirror editor, bound to a live document. */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import {
  Annotation,
  Compartment,
  EditorState,
  type Extension,
  Prec,
  Transaction,
} from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightSpecialChars,
  keymap,
  placeholder,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { Change, LiveDocument } from "stretto-client";
import { remoteCarets, showCursors } from "./carets";
import { wellFormedChanges } from "./edges";

/** Marks transactions that come from the document. */
const fromDocument = Annotation.define<true>();
const editable = new Compartment();
/** Looks are in the style sheet. */
const LOOKS = HighlightStyle.define([
  { tag: tags.heading1, class: "md-heading md-h1" },
  { tag: tags.heading2, class: "md-heading md-h2" },
  { tag: tags.heading3, class: "md-heading md-h3" },
  { tag: tags.heading, class: "md-heading" },
  { tag: tags.strong, class: "md-strong" },
  { tag: tags.emphasis, class: "md-emphasis" },
  { tag: tags.strikethrough, class: "md-strikethrough" },
  { tag: tags.monospace, class: "md-code" },
  { tag: [tags.link, tags.url], class: "md-link" },
  { tag: tags.quote, class: "md-quote" },
  { tag: [tags.processingInstruction, tags.contentSeparator], class: "md-mark" },
]);

/**
 * Show `doc` in `parent`, to be edited. `nonce` lets the editor's style sheets in; `watch` is
 * an extension that looks on.
 */
export function createEditor(
  doc: LiveDocument,
  parent: HTMLElement,
  nonce: string,
  watch: Extension,
): EditorView {
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: doc.text,
      extensions: [extensions(nonce), sending(doc), watch],
    }),
  });
  receiving(doc, view);
  return view;
}

function extensions(nonce: string): Extension {
  return [
    EditorView.cspNonce.of(nonce),
    // Text is kept as it is: only a line feed ends a line.
    EditorState.lineSeparator.of("\n"),
    EditorState.allowMultipleSelections.of(true),
    wellFormedChanges(fromDocument),
    editable.of([]),
    history(),
    drawSelection(),
    highlightSpecialChars(),
    highlightSelectionMatches(),
    remoteCarets(),
    EditorView.lineWrapping,
    markdownLanguage,
    Prec.high(keymap.of(markdownKeymap)),
    syntaxHighlighting(LOOKS),
    indentUnit.of("  "),
    placeholder("Start writing. Everyone with the link writes along."),
    keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap]),
    EditorView.contentAttributes.of({
      "aria-label": "Document text",
      spellcheck: "true",
      autocorrect: "on",
      autocapitalize: "sentences",
    }),
  ];
}

/** Hand what the user does to the document. */
function sending(doc: LiveDocument): Extension {
  return EditorView.updateListener.of((update) => {
    try {
      for (const transaction of update.transactions) {
        if (transaction.docChanged && !transaction.annotation(fromDocument)) {
          doc.applyChanges(changesOf(transaction));
        }
      }
      if (update.selectionSet || update.docChanged || update.focusChanged) {
        const { ranges } = update.state.selection;
        doc.setSelection(ranges.map(({ anchor, head }) => [anchor, head]));
      }
    } catch {
      // The document would not have it (read-only by now, or closed): show what it has.
      queueMicrotask(() => restore(doc, update.view));
    }
  });
}

/** Show what comes from the document. */
function receiving(doc: LiveDocument, view: EditorView): void {
  doc.on("change", ({ origin, changes }) => {
    if (origin !== "local") applyTo(view, changes);
  });
  doc.on("cursors", (cursors) => view.dispatch({ effects: showCursors(cursors) }));
  const setEditable = (): void => {
    const extension = doc.role === "viewer" ? EditorState.readOnly.of(true) : [];
    view.dispatch({ effects: editable.reconfigure(extension) });
  };
  doc.on("role", setEditable);
  doc.on("presence", setEditable);
  doc.on("closed", () => {
    view.dispatch({ effects: editable.reconfigure(EditorState.readOnly.of(true)) });
  });
  setEditable();
  view.dispatch({ effects: showCursors(doc.cursors) });
}

function restore(doc: LiveDocument, view: EditorView): void {
  applyTo(view, [{ from: 0, to: view.state.doc.length, insert: doc.text }]);
}

function applyTo(view: EditorView, changes: readonly Change[]): void {
  view.dispatch({
    changes,
    annotations: [fromDocument.of(true), Transaction.addToHistory.of(false)],
  });
}

function changesOf(transaction: Transaction): Change[] {
  const changes: Change[] = [];
  transaction.changes.iterChanges((from, to, _from, _to, text) => {
    changes.push({ from, to, insert: text.sliceString(0, undefined, "\n") });
  });
  return changes;
}

/** The CodeMirror editor, bound to a live document. */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension, Prec } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightSpecialChars,
  keymap,
  placeholder,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { LiveDocument } from "stretto-client";
import { collaboration } from "stretto-client/codemirror";

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
  const extensions = [EditorView.cspNonce.of(nonce), collaboration(doc), EXTENSIONS, watch];
  return new EditorView({ parent, state: EditorState.create({ doc: doc.text, extensions }) });
}

const EXTENSIONS: Extension = [
  EditorState.allowMultipleSelections.of(true),
  history(),
  drawSelection(),
  highlightSpecialChars(),
  highlightSelectionMatches(),
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

/** The CodeMirror editor, bound to a live document. */
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightSpecialChars,
  keymap,
  placeholder,
} from "@codemirror/view";
import type { LiveDocument } from "stretto-client";
import { collaboration } from "stretto-client/codemirror";
import { markdownText } from "./language";

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
  const extensions = [
    EditorView.cspNonce.of(nonce),
    collaboration(doc),
    EXTENSIONS,
    markdownText(doc.length),
    watch,
  ];
  return new EditorView({ parent, state: EditorState.create({ doc: doc.text, extensions }) });
}

const EXTENSIONS: Extension = [
  EditorState.allowMultipleSelections.of(true),
  history(),
  drawSelection(),
  highlightSpecialChars(),
  highlightSelectionMatches(),
  EditorView.lineWrapping,
  placeholder("Start writing. Everyone with the link writes along."),
  keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap]),
  EditorView.contentAttributes.of({
    "aria-label": "Document text",
    spellcheck: "true",
    autocorrect: "on",
    autocapitalize: "sentences",
  }),
];

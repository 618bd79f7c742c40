/** Markdown in the editor: highlighted, and continued by Enter. */
import { markdownKeymap, markdownLanguage } from "@codemirror/lang-markdown";
import { HighlightStyle, indentUnit, language, syntaxHighlighting } from "@codemirror/language";
import { Compartment, type EditorState, type Extension, Prec } from "@codemirror/state";
import { EditorView, keymap } from "@codemirror/view";
import { tags } from "@lezer/highlight";

/**
 * A longer text is not highlighted: its syntax tree, which is put together anew at every key,
 * would make typing slower the longer the text is.
 */
const LONGEST = 200_000;

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

const chosen = new Compartment();

/** Return the extension for a text that has `length` at first. */
export function markdownText(length: number): Extension {
  return [
    chosen.of(languageFor(length)),
    Prec.high(keymap.of(markdownKeymap)),
    syntaxHighlighting(LOOKS),
    indentUnit.of("  "),
    EditorView.updateListener.of(({ docChanged, state, view }) => {
      if (!docChanged || isParsed(state) === state.doc.length <= LONGEST) return;
      const effects = chosen.reconfigure(languageFor(state.doc.length));
      queueMicrotask(() => view.dispatch({ effects }));
    }),
  ];
}

/** Tell whether the editor keeps a syntax tree of its text. */
export function isParsed(state: EditorState): boolean {
  return state.facet(language) !== null;
}

function languageFor(length: number): Extension {
  return length <= LONGEST ? markdownLanguage : [];
}

/** The document as it reads: rendered while the browser is idle, block by block. */
import { markdownLanguage } from "@codemirror/lang-markdown";
import { ensureSyntaxTree, syntaxTree } from "@codemirror/language";
import type { Extension, Text } from "@codemirror/state";
import { EditorView, type ViewUpdate } from "@codemirror/view";
import type { SyntaxNode } from "@lezer/common";
import { make } from "./elements";
import { isParsed } from "./language";
import { children, type References, reference, renderBlock } from "./markdown";

/** Rendering starts this long after the last change. */
const CALM_MS = 120;
/** It comes at the latest this long after that, however busy the browser is. */
const LATEST_MS = 1_000;
/** Of a longer document only what surrounds the lines in view is shown. */
const WINDOW = 40_000;
/** A longer block is shown as its source, and not all of it. */
const LONGEST_BLOCK = 20_000;
/** A paragraph is not looked for over more lines than this. */
const MOST_LINES = 50;
/** So much is left free above what is scrolled to. */
const MARGIN = 24;
/** Parsing pauses after this long, to let keystrokes through. */
const PARSE_MS = 8;

/** A block of the document with what shows it. */
interface Block {
  readonly from: number;
  readonly source: string;
  readonly shown: HTMLElement | null;
}

/** Keeps a rendered copy of an editor's text in `parent`. */
export class Preview {
  private blocks: readonly Block[] = [];
  private references: References = new Map();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly body = make("div", "prose");

  constructor(
    private readonly view: EditorView,
    private readonly parent: HTMLElement,
  ) {
    parent.replaceChildren(this.body);
    parent.tabIndex = 0; // it scrolls, also by keyboard
    view.scrollDOM.addEventListener("scroll", () => requestAnimationFrame(() => this.follow()));
    this.schedule(0);
  }

  /** Render soon. */
  schedule(delayMs = CALM_MS): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => whenIdle(() => this.render()), delayMs);
  }

  private render(): void {
    if (!isShown(this.parent)) return; // it is scheduled again when it shows
    const { state } = this.view;
    const { from, to } = windowOf(this.view);
    if (isParsed(state)) {
      const tree = ensureSyntaxTree(state, to, PARSE_MS);
      if (tree === null) {
        this.schedule(0);
        return;
      }
      this.replace(tree.topNode, 0, state.doc);
    } else {
      const tree = markdownLanguage.parser.parse(state.doc.sliceString(from, to));
      this.replace(tree.topNode, from, state.doc);
    }
    this.body.classList.toggle("partial", from > 0 || to < state.doc.length);
    this.follow();
  }

  /**
   * Show the blocks of `top`, whose positions count from `offset`. What shows blocks whose
   * source is the same as before stays.
   */
  private replace(top: SyntaxNode, offset: number, doc: Text): void {
    const nodes = children(top);
    const source = (from: number, to: number): string =>
      doc.sliceString(offset + from, offset + to);
    const references = new Map(
      nodes
        .filter(({ name }) => name === "LinkReference")
        .flatMap((node) => {
          const found = reference(node, source);
          return found === null ? [] : [found];
        }),
    );
    const same = equal(references, this.references);
    this.references = references;
    const before = new Map<string, Block[]>();
    for (const block of same ? this.blocks : []) {
      before.set(block.source, [...(before.get(block.source) ?? []), block]);
    }
    this.blocks = nodes.map((node) => {
      const { from, to } = node;
      const place = offset + from;
      const text = source(from, Math.min(to, from + LONGEST_BLOCK));
      const kept = before.get(text)?.shift();
      if (kept !== undefined) return { ...kept, from: place };
      const shown =
        to - from > LONGEST_BLOCK
          ? make("pre", "raw", `${text}\n…`)
          : renderBlock(node, source, references);
      return { from: place, source: text, shown };
    });
    this.place();
  }

  /** Put the blocks into the page, touching only what is not in its place. */
  private place(): void {
    let at = this.body.firstElementChild;
    for (const { shown } of this.blocks) {
      if (shown === null) continue;
      if (shown === at) at = at.nextElementSibling;
      else this.body.insertBefore(shown, at);
    }
    while (at !== null) {
      const next = at.nextElementSibling;
      at.remove();
      at = next;
    }
  }

  /** Scroll to where the editor is. */
  private follow(): void {
    if (
      !isShown(this.parent) ||
      !isShown(this.view.dom) ||
      this.parent.matches(":hover, :focus-within")
    ) {
      return;
    }
    const { view } = this;
    const { scrollTop, scrollHeight, clientHeight } = view.scrollDOM;
    if (scrollTop + clientHeight >= scrollHeight - 2 && scrollTop > 0) {
      this.parent.scrollTop = this.parent.scrollHeight;
      return;
    }
    const top = scrollTop > 0 ? view.lineBlockAtHeight(scrollTop).from : -1;
    const shown = this.blocks.filter((block) => block.shown !== null);
    const index = shown.findLastIndex(({ from }) => from <= top);
    const block = shown[index];
    const place = block?.shown?.offsetTop ?? 0;
    const next = shown[index + 1];
    const height = (next?.shown?.offsetTop ?? place) - place;
    const length = (next?.from ?? 0) - (block?.from ?? 0);
    const part = block && length > 0 ? (top - block.from) / length : 0;
    this.parent.scrollTop = index < 0 ? 0 : place + part * height - MARGIN;
  }
}

/** Return an extension that keeps the preview current. */
export function previewed(preview: () => Preview): Extension {
  return EditorView.updateListener.of((update) => {
    if (changesPreview(update)) preview().schedule();
  });
}

function changesPreview({ docChanged, viewportChanged, state, startState }: ViewUpdate): boolean {
  if (docChanged || syntaxTree(state) !== syntaxTree(startState)) return true;
  return viewportChanged && !isParsed(state);
}

/** Return what is to be shown: everything, or of a long text what surrounds the view. */
function windowOf({ state, viewport }: EditorView): { from: number; to: number } {
  const { doc } = state;
  if (isParsed(state)) return { from: 0, to: doc.length };
  const middle = (viewport.from + viewport.to) / 2;
  const from = Math.max(0, Math.min(viewport.from, Math.round(middle - WINDOW / 2)));
  const to = Math.min(doc.length, Math.max(viewport.to, Math.round(middle + WINDOW / 2)));
  return { from: paragraphStart(doc, from), to };
}

/** Return where the paragraph at `position` starts, if that is not far. */
function paragraphStart(doc: Text, position: number): number {
  let line = doc.lineAt(position);
  for (let count = 0; count < MOST_LINES && line.number > 1; count++) {
    if (line.text.trim() === "") break;
    line = doc.line(line.number - 1);
  }
  return line.from;
}

function isShown(element: HTMLElement): boolean {
  return element.offsetParent !== null;
}

function equal(a: References, b: References): boolean {
  return a.size === b.size && [...a].every(([label, url]) => b.get(label) === url);
}

/** Call `action` when there is nothing more urgent. */
function whenIdle(action: () => void): void {
  if ("requestIdleCallback" in window) requestIdleCallback(action, { timeout: LATEST_MS });
  else setTimeout(action);
}

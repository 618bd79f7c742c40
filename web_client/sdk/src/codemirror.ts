/**
 * Binds a CodeMirror 6 editor to a document: `extensions: [collaboration(doc)]`.
 *
 * Change sets become operations and operations become change sets: nothing is done to the whole
 * text at a keystroke.
 */
import {
  Annotation,
  type ChangeDesc,
  Compartment,
  EditorState,
  type Extension,
  type Range,
  StateEffect,
  StateField,
  Transaction,
} from "@codemirror/state";
import {
  Decoration,
  type DecorationSet,
  EditorView,
  type PluginValue,
  ViewPlugin,
  type ViewUpdate,
  WidgetType,
} from "@codemirror/view";
import type { LiveDocument } from "./document.js";
import type { RemoteCursor } from "./document_events.js";
import { isHighSurrogate, isLowSurrogate, isWellFormed } from "./operation.js";
import type { Change } from "./units.js";

/** What a {@link collaboration} shows beside the text. */
export interface CollaborationOptions {
  /** Show where the others are (it does, unless this is false). */
  readonly cursors?: boolean;
}

/** Marks transactions that come from the document. */
export const fromDocument = Annotation.define<true>();

/**
 * Return the extension that keeps an editor and `doc` the same. Create the editor's state with
 * `doc.text`. While the document is read-only, so is the editor.
 *
 * Remote carets are `.stretto-caret` with a `.stretto-caret-label`, selections
 * `.stretto-selection`; the custom properties `--stretto-color` and `--stretto-ink` have their
 * colors.
 */
export function collaboration(doc: LiveDocument, options: CollaborationOptions = {}): Extension {
  const access = new Compartment();
  return [
    // Text is kept as it is: only a line feed ends a line.
    EditorState.lineSeparator.of("\n"),
    wellFormedChanges(),
    access.of(accessTo(doc)),
    ViewPlugin.define((view) => new Binding(doc, view, access)),
    options.cursors === false ? [] : [remoteCursors(), theme],
  ];
}

function accessTo(doc: LiveDocument): Extension {
  return doc.role === "viewer" || doc.isClosed ? EditorState.readOnly.of(true) : [];
}

class Binding implements PluginValue {
  private readonly leave: (() => void)[];
  private isSending = false;
  private isGone = false;

  constructor(
    private readonly doc: LiveDocument,
    private readonly view: EditorView,
    access: Compartment,
  ) {
    let readOnly = doc.role === "viewer" || doc.isClosed;
    const reconfigure = (): void => {
      const now = doc.role === "viewer" || doc.isClosed;
      if (now === readOnly) return;
      readOnly = now;
      view.dispatch({ effects: access.reconfigure(accessTo(doc)) });
    };
    this.leave = [
      doc.on("change", ({ changes }) => {
        if (!this.isSending) this.show(changes);
      }),
      doc.on("cursors", (cursors) => view.dispatch({ effects: setCursors.of(cursors) })),
      doc.on("role", reconfigure),
      doc.on("presence", reconfigure),
      doc.on("closed", reconfigure),
    ];
    // An editor cannot be changed while it is made.
    queueMicrotask(() => {
      if (this.isGone) return;
      this.restore();
      view.dispatch({ effects: setCursors.of(doc.cursors) });
    });
  }

  /** Hand what the user does to the document. */
  update(update: ViewUpdate): void {
    this.isSending = true;
    try {
      for (const transaction of update.transactions) {
        if (transaction.docChanged && !transaction.annotation(fromDocument)) {
          this.doc.applyChanges(changesOf(transaction));
        }
      }
    } catch {
      // The document would not have it (read-only by now, or closed): show what it has.
      queueMicrotask(() => this.restore());
      return;
    } finally {
      this.isSending = false;
    }
    if (update.selectionSet || update.docChanged || update.focusChanged) {
      const { ranges } = update.state.selection;
      this.doc.setSelection(ranges.map(({ anchor, head }) => [anchor, head]));
    }
  }

  destroy(): void {
    this.isGone = true;
    for (const end of this.leave) end();
    if (!this.doc.isClosed) this.doc.setSelection(null);
  }

  private show(changes: readonly Change[]): void {
    this.view.dispatch({
      changes,
      annotations: [
        fromDocument.of(true),
        Transaction.remote.of(true),
        Transaction.addToHistory.of(false),
      ],
    });
  }

  /** Make the editor show the document's text, where it does not. */
  private restore(): void {
    const { doc } = this.view.state;
    const { text } = this.doc;
    if (this.isGone || doc.sliceString(0, undefined, "\n") === text) return;
    this.show([{ from: 0, to: doc.length, insert: text }]);
  }
}

function changesOf(transaction: Transaction): Change[] {
  const changes: Change[] = [];
  transaction.changes.iterChanges((from, to, _from, _to, text) => {
    changes.push({ from, to, insert: text.sliceString(0, undefined, "\n") });
  });
  return changes;
}

/**
 * Rewrite the user's changes so that they never split an astral character, never insert half
 * of one, and bring no carriage returns (as pasted text may).
 */
function wellFormedChanges(): Extension {
  return EditorState.transactionFilter.of((transaction) => {
    if (!transaction.docChanged || transaction.annotation(fromDocument)) return transaction;
    const { doc } = transaction.startState;
    const given = changesOf(transaction);
    const unit = (at: number): string => (at < 0 ? "" : doc.sliceString(at, at + 1));
    const mended = given.map((change) => mendChange(change, unit));
    if (mended.every((change, index) => change === given[index])) return transaction;
    return [{ changes: mended, scrollIntoView: true, userEvent: "input" }];
  });
}

/** Return `change`, itself if there is nothing to mend; `unit` reads the text before. */
export function mendChange(change: Change, unit: (at: number) => string): Change {
  const splits = (at: number): boolean =>
    isLowSurrogate(unit(at).charCodeAt(0)) && isHighSurrogate(unit(at - 1).charCodeAt(0));
  const from = splits(change.from) ? change.from - 1 : change.from;
  const end = splits(change.to) ? change.to + 1 : change.to;
  const to = change.to === change.from ? from : end;
  let { insert } = change;
  if (insert.includes("\r")) insert = insert.replace(/\r\n?/g, "\n");
  if (!isWellFormed(insert)) insert = insert.replace(/\p{Surrogate}/gu, "\ufffd");
  if (from === change.from && to === change.to && insert === change.insert) return change;
  return { from, to, insert };
}

// Where the others are.

interface Caret {
  readonly id: string;
  readonly name: string;
  readonly color: string;
  readonly anchor: number;
  readonly head: number;
  /** Counts moves, so that the label of a caret that moved shows again. */
  readonly moves: number;
}

interface Carets {
  readonly list: readonly Caret[];
  readonly decorations: DecorationSet;
}

const setCursors = StateEffect.define<readonly RemoteCursor[]>();

/** Return the extension that shows remote carets. */
function remoteCursors(): Extension {
  return StateField.define<Carets>({
    create: () => ({ list: [], decorations: Decoration.none }),
    update(carets, transaction) {
      let { list } = carets;
      if (transaction.docChanged) list = list.map((caret) => carried(caret, transaction.changes));
      for (const effect of transaction.effects) {
        if (effect.is(setCursors)) list = merged(list, effect.value, transaction.newDoc.length);
      }
      return list === carets.list ? carets : { list, decorations: decorate(list) };
    },
    provide: (self) => EditorView.decorations.from(self, ({ decorations }) => decorations),
  });
}

function carried(caret: Caret, changes: ChangeDesc): Caret {
  const [anchor, head] = [changes.mapPos(caret.anchor, -1), changes.mapPos(caret.head, -1)];
  return { ...caret, anchor, head };
}

function merged(
  before: readonly Caret[],
  cursors: readonly RemoteCursor[],
  length: number,
): readonly Caret[] {
  const known = new Map(before.map((caret) => [caret.id, caret]));
  return cursors.flatMap(({ member, ranges }) =>
    ranges.map(([from, to], index) => {
      const id = `${member.id}/${index}`;
      const [anchor, head] = [Math.min(from, length), Math.min(to, length)];
      const old = known.get(id);
      const moved = old === undefined || old.anchor !== anchor || old.head !== head;
      const { name } = member.user;
      const color = /^#[0-9a-f]{6}$/i.test(member.user.color) ? member.user.color : "#666666";
      return { id, name, color, anchor, head, moves: (old?.moves ?? 0) + Number(moved) };
    }),
  );
}

function decorate(carets: readonly Caret[]): DecorationSet {
  const ranges: Range<Decoration>[] = [];
  for (const caret of carets) {
    const { anchor, head, color } = caret;
    if (anchor !== head) {
      const attributes = { style: `--stretto-color: ${color}` };
      const selection = Decoration.mark({ class: "stretto-selection", attributes });
      ranges.push(selection.range(Math.min(anchor, head), Math.max(anchor, head)));
    }
    ranges.push(Decoration.widget({ widget: new CaretWidget(caret), side: 1 }).range(head));
  }
  return Decoration.set(ranges, true);
}

class CaretWidget extends WidgetType {
  constructor(private readonly caret: Caret) {
    super();
  }

  override eq({ caret }: CaretWidget): boolean {
    const { id, name, color, moves } = this.caret;
    return id === caret.id && name === caret.name && color === caret.color && moves === caret.moves;
  }

  override toDOM(): HTMLElement {
    const { name, color } = this.caret;
    const element = document.createElement("span");
    element.className = "stretto-caret";
    element.style.setProperty("--stretto-color", color);
    element.style.setProperty("--stretto-ink", inkOn(color));
    element.setAttribute("aria-hidden", "true");
    const label = document.createElement("span");
    label.className = "stretto-caret-label";
    label.textContent = name; // a name is text, never markup
    // Joined by zero-width characters, the line breaks neither before nor behind the caret.
    element.append("\u2060", label, "\u2060");
    return element;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

/** Return black or white, whichever reads better on `color`. */
function inkOn(color: string): string {
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
  const light = 0.299 * (red ?? 0) + 0.587 * (green ?? 0) + 0.114 * (blue ?? 0);
  return light > 150 ? "#000000" : "#ffffff";
}

const theme = EditorView.baseTheme({
  ".stretto-caret": {
    position: "relative",
    borderLeft: "2px solid var(--stretto-color)",
    marginLeft: "-1px",
    marginRight: "-1px",
  },
  ".stretto-caret-label": {
    position: "absolute",
    bottom: "100%",
    left: "-2px",
    padding: "0 0.35em",
    borderRadius: "3px 3px 3px 0",
    background: "var(--stretto-color)",
    color: "var(--stretto-ink)",
    fontSize: "0.75em",
    lineHeight: "1.4",
    whiteSpace: "nowrap",
    pointerEvents: "none",
    userSelect: "none",
  },
  ".stretto-selection": {
    background: "color-mix(in srgb, var(--stretto-color) 25%, transparent)",
  },
});

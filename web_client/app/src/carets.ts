/** Where the others are: carets with names and selections, as a CodeMirror extension. */
import {
  type ChangeDesc,
  type Extension,
  type Range,
  StateEffect,
  StateField,
} from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, WidgetType } from "@codemirror/view";
import type { RemoteCursor } from "stretto-client";
import { inkOn, safeColor } from "./colors";

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

const setCarets = StateEffect.define<readonly RemoteCursor[]>();

/** Return the effect that shows these cursors instead of those before. */
export function showCursors(cursors: readonly RemoteCursor[]): StateEffect<unknown> {
  return setCarets.of(cursors);
}

const field = StateField.define<Carets>({
  create: () => ({ list: [], decorations: Decoration.none }),
  update(carets, transaction) {
    let { list } = carets;
    if (transaction.docChanged) list = list.map((caret) => carried(caret, transaction.changes));
    for (const effect of transaction.effects) {
      if (effect.is(setCarets)) list = merged(list, effect.value, transaction.newDoc.length);
    }
    return list === carets.list ? carets : { list, decorations: decorate(list) };
  },
  provide: (self) => EditorView.decorations.from(self, ({ decorations }) => decorations),
});

/** Show remote carets in an editor. */
export function remoteCarets(): Extension {
  return field;
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
  const clamp = (unit: number): number => Math.min(unit, length);
  return cursors.flatMap(({ member, ranges }) =>
    ranges.map(([anchor, head], index) => {
      const id = `${member.id}/${index}`;
      const old = before.find((caret) => caret.id === id);
      const caret = { id, anchor: clamp(anchor), head: clamp(head), moves: old?.moves ?? 0 };
      const moved = old === undefined || old.anchor !== caret.anchor || old.head !== caret.head;
      const { name, color } = member.user;
      return { ...caret, name, color: safeColor(color), moves: caret.moves + (moved ? 1 : 0) };
    }),
  );
}

function decorate(carets: readonly Caret[]): DecorationSet {
  const ranges: Range<Decoration>[] = [];
  for (const caret of carets) {
    const { anchor, head, color } = caret;
    if (anchor !== head) {
      const selection = Decoration.mark({
        class: "remote-selection",
        attributes: { style: `--who: ${color}` },
      });
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

  toDOM(): HTMLElement {
    const { name, color } = this.caret;
    const element = document.createElement("span");
    element.className = "remote-caret";
    element.style.setProperty("--who", color);
    element.style.setProperty("--ink", inkOn(color));
    element.setAttribute("aria-hidden", "true");
    const label = document.createElement("span");
    label.className = "remote-label";
    label.textContent = name; // a name is text, never markup
    // Joined by zero-width characters, the line breaks neither before nor behind the caret.
    element.append("\u2060", label, "\u2060");
    return element;
  }

  override ignoreEvent(): boolean {
    return false;
  }
}

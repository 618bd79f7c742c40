/** What an editor may do that a document must not hold: half characters, foreign line ends. */
import { type AnnotationType, EditorState, type Extension } from "@codemirror/state";

interface Replacement {
  readonly from: number;
  readonly to: number;
  readonly insert: string;
}

/**
 * Rewrite the user's changes so that they never split an astral character, never insert half
 * of one, and bring no carriage returns (as pasted text may). Transactions annotated with
 * `trusted` pass as they are.
 */
export function wellFormedChanges(trusted: AnnotationType<true>): Extension {
  return EditorState.transactionFilter.of((transaction) => {
    if (!transaction.docChanged || transaction.annotation(trusted)) return transaction;
    const doc = transaction.startState.doc;
    const given: Replacement[] = [];
    transaction.changes.iterChanges((from, to, _from, _to, text) => {
      given.push({ from, to, insert: text.toString() });
    });
    const unit = (at: number): string => doc.sliceString(at, at + 1);
    const mended = given.map((change) => mend(change, unit));
    if (mended.every((change, index) => change === given[index])) return transaction;
    return [{ changes: mended, scrollIntoView: true, userEvent: "input" }];
  });
}

/** Return `change`, itself if there is nothing to mend; `unit` reads the text before. */
export function mend(change: Replacement, unit: (at: number) => string): Replacement {
  const splits = (at: number): boolean => isHigh(unit(at - 1)) && isLow(unit(at));
  const from = splits(change.from) ? change.from - 1 : change.from;
  const end = splits(change.to) ? change.to + 1 : change.to;
  const to = change.to === change.from ? from : end;
  const insert = change.insert.toWellFormed().replace(/\r\n?/g, "\n");
  if (from === change.from && to === change.to && insert === change.insert) return change;
  return { from, to, insert };
}

function isHigh(unit: string): boolean {
  return /^[\ud800-\udbff]$/.test(unit);
}

function isLow(unit: string): boolean {
  return /^[\udc00-\udfff]$/.test(unit);
}

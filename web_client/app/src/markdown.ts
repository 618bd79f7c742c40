/**
 * Markdown, parsed, as nodes of the page.
 *
 * Every piece of text becomes a text node and every element is made by name, so that nothing
 * in a document is ever read as HTML. Links lead to the web or to a mailbox, images from
 * elsewhere are not loaded but linked.
 */
import type { SyntaxNode } from "@lezer/common";
import { make } from "./elements";

/** Reads the source between two places. */
export type Source = (from: number, to: number) => string;

/** Where `[text][label]` leads: normalised label → URL. */
export type References = ReadonlyMap<string, string>;

/** Nesting deeper than this is shown as its source. */
const DEEPEST = 60;
const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
  copy: "©",
  hellip: "…",
  ndash: "–",
  mdash: "—",
};

/** Return `url` where a link may lead there, else null. */
export function safeUrl(url: string): string | null {
  const given = url.trim();
  const absolute = /^www\./i.test(given) ? `https://${given}` : given;
  if (!/^(https?:\/\/|mailto:)/i.test(absolute)) return null;
  return URL.canParse(absolute) ? absolute : null;
}

/** Return how references to `label` are found: case and spaces do not matter. */
export function normalLabel(label: string): string {
  return label
    .replace(/^\[|\]$/g, "")
    .replace(/\s+/g, " ")
    .trim()
    .toLowerCase();
}

/** Return the label and the URL that a LinkReference node defines. */
export function reference(node: SyntaxNode, source: Source): [string, string] | null {
  const [label, url] = [node.getChild("LinkLabel"), node.getChild("URL")];
  if (label === null || url === null) return null;
  return [normalLabel(source(label.from, label.to)), source(url.from, url.to)];
}

/** Return the node of the page for a block of the tree, or null where it shows nothing. */
export function renderBlock(
  node: SyntaxNode,
  source: Source,
  references: References,
): HTMLElement | null {
  return new Renderer(source, references).block(node, 0);
}

class Renderer {
  constructor(
    private readonly source: Source,
    private readonly references: References,
  ) {}

  block(node: SyntaxNode, depth: number): HTMLElement | null {
    if (depth > DEEPEST) return make("p", "", this.text(node));
    const level = /^(?:ATX|Setext)Heading([1-6])$/.exec(node.name)?.[1];
    if (level !== undefined) return this.heading(node, Number(level));
    switch (node.name) {
      case "Paragraph":
        return this.inline(make("p", ""), node, depth);
      case "Blockquote":
        return this.blocks(make("blockquote", ""), node, depth);
      case "BulletList":
        return this.blocks(make("ul", ""), node, depth);
      case "OrderedList":
        return this.orderedList(node, depth);
      case "ListItem":
        return this.blocks(make("li", ""), node, depth);
      case "Task":
        return this.task(node, depth);
      case "FencedCode":
      case "CodeBlock":
        return this.code(node);
      case "HorizontalRule":
        return make("hr", "");
      case "Table":
        return this.table(node, depth);
      case "HTMLBlock":
        return make("pre", "raw", this.text(node));
      default:
        return null; // definitions, comments and marks show nothing
    }
  }

  private blocks<T extends HTMLElement>(parent: T, node: SyntaxNode, depth: number): T {
    for (const child of children(node)) {
      const block = this.block(child, depth + 1);
      if (block !== null) parent.append(block);
    }
    return parent;
  }

  private heading(node: SyntaxNode, level: number): HTMLElement {
    const heading = this.inline(make(`h${level as 1 | 2 | 3 | 4 | 5 | 6}`, ""), node, 0);
    heading.normalize();
    const [first, last] = [heading.firstChild, heading.lastChild];
    if (first instanceof Text) first.data = first.data.trimStart();
    if (last instanceof Text) last.data = last.data.trimEnd();
    return heading;
  }

  private orderedList(node: SyntaxNode, depth: number): HTMLElement {
    const list = this.blocks(make("ol", ""), node, depth);
    const mark = node.getChild("ListItem")?.getChild("ListMark");
    const start = mark ? Number.parseInt(this.text(mark), 10) : 1;
    if (start !== 1 && Number.isSafeInteger(start)) list.start = start;
    return list;
  }

  private task(node: SyntaxNode, depth: number): HTMLElement {
    const marker = node.getChild("TaskMarker");
    const box = make("input", "");
    box.type = "checkbox";
    box.disabled = true;
    box.checked = marker !== null && /x/i.test(this.text(marker));
    const label = make("label", "task", box, " ");
    return this.inline(label, node, depth);
  }

  private code(node: SyntaxNode): HTMLElement {
    const lines = children(node).filter(({ name }) => name === "CodeText");
    const code = make("code", "", lines.map((line) => this.text(line)).join(""));
    const block = make("pre", "", code);
    block.tabIndex = 0; // it may scroll, and then also by keyboard
    return block;
  }

  private table(node: SyntaxNode, depth: number): HTMLElement {
    const table = make("table", "");
    for (const row of children(node)) {
      const header = row.name === "TableHeader";
      if (!header && row.name !== "TableRow") continue;
      const cells = row.getChildren("TableCell").map((cell) => {
        const made = make(header ? "th" : "td", "");
        return this.inline(made, cell, depth);
      });
      table.append(make("tr", "", ...cells));
    }
    const frame = make("div", "table", table);
    frame.tabIndex = 0;
    return frame;
  }

  /** Append what is within `node`: its text, and its children as elements. */
  private inline<T extends HTMLElement>(parent: T, node: SyntaxNode, depth: number): T {
    let at = node.from;
    for (const child of children(node)) {
      if (child.from > at) parent.append(this.source(at, child.from));
      const shown = this.span(child, depth + 1);
      if (shown !== null) parent.append(shown);
      at = Math.max(at, child.to);
    }
    if (node.to > at) parent.append(this.source(at, node.to));
    return parent;
  }

  private span(node: SyntaxNode, depth: number): string | HTMLElement | null {
    if (depth > DEEPEST) return this.text(node);
    switch (node.name) {
      case "Emphasis":
        return this.inline(make("em", ""), node, depth);
      case "StrongEmphasis":
        return this.inline(make("strong", ""), node, depth);
      case "Strikethrough":
        return this.inline(make("del", ""), node, depth);
      case "InlineCode":
        return make("code", "", this.text(node).replace(/^`+|`+$/g, ""));
      case "Link":
        return this.link(node, depth);
      case "Image":
        return this.image(node);
      case "Autolink":
        return this.bareLink(this.text(node).slice(1, -1));
      case "URL":
        return this.bareLink(this.text(node));
      case "HardBreak":
        return make("br", "");
      case "Escape":
        return this.text(node).slice(1);
      case "Entity":
        return entity(this.text(node));
      case "HTMLTag":
      case "ProcessingInstruction":
        return this.text(node);
      default:
        return null; // marks and comments
    }
  }

  private link(node: SyntaxNode, depth: number): HTMLElement {
    const marks = node.getChildren("LinkMark");
    const [open, close] = [marks[0], marks[1]];
    const label = make("span", "");
    let at = open?.to ?? node.from;
    const end = close?.from ?? node.to;
    for (const child of children(node)) {
      if (child.from < at || child.to > end || child.name === "LinkMark") continue;
      const shown = this.span(child, depth + 1);
      label.append(this.source(at, child.from), ...(shown === null ? [] : [shown]));
      at = child.to;
    }
    label.append(this.source(at, end));
    return anchor(this.target(node), ...label.childNodes);
  }

  private target(node: SyntaxNode): string {
    const url = node.getChild("URL");
    if (url !== null) return this.text(url).replace(/^<|>$/g, "");
    const label = node.getChild("LinkLabel");
    const named = label === null ? "" : normalLabel(this.text(label));
    const shown = normalLabel(this.text(node).replace(/\]\[[^\]]*\]$/, "]"));
    return this.references.get(named || shown) ?? "";
  }

  private image(node: SyntaxNode): HTMLElement {
    const alt = /^!\[([^\]]*)\]/.exec(this.text(node))?.[1] ?? "";
    const link = anchor(this.target(node), `Image: ${alt || "untitled"}`);
    link.classList.add("image");
    return link;
  }

  private bareLink(url: string): HTMLElement {
    const mailbox = /^[^\s@:/]+@[^\s@]+$/.test(url);
    return anchor(mailbox ? `mailto:${url}` : url, url);
  }

  private text({ from, to }: SyntaxNode): string {
    return this.source(from, to);
  }
}

/** Return a link where `url` may be linked to, else a span. */
function anchor(url: string, ...content: readonly (string | Node)[]): HTMLElement {
  const target = safeUrl(url);
  if (target === null) return make("span", "", ...content);
  const link = make("a", "", ...content);
  link.href = target;
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
  return link;
}

function entity(text: string): string {
  const name = text.slice(1, -1);
  const code = /^#(?:x([0-9a-f]{1,6})|(\d{1,7}))$/i.exec(name);
  if (code === null) return ENTITIES[name] ?? text;
  const point = code[1] === undefined ? Number(code[2]) : Number.parseInt(code[1], 16);
  const valid = point > 0 && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff);
  return valid ? String.fromCodePoint(point) : "\ufffd";
}

/** Return the children of a node of the tree. */
export function children(node: SyntaxNode): SyntaxNode[] {
  const found: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) found.push(child);
  return found;
}

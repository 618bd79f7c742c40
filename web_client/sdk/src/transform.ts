import {
  type Component,
  inputLength,
  invalidOperation,
  normalize,
  type Operation,
  OperationBuilder,
  pointLength,
  type Side,
  unitsOf,
} from "./operation.js";

/** Return `text` after `op`. Throws `invalid_operation` when `op` is longer than `text`. */
export function apply(text: string, op: Operation): string {
  const pieces: string[] = [];
  let at = 0;
  for (const component of fitting(op, text)) {
    if (typeof component === "string") {
      pieces.push(component);
    } else {
      const units = unitsOf(text, at, Math.abs(component));
      if (component > 0) pieces.push(text.slice(at, at + units));
      at += units;
    }
  }
  pieces.push(text.slice(at));
  return pieces.join("");
}

/** Return the operation that undoes `op`, where `text` is what `op` applies to. */
export function invert(op: Operation, text: string): Operation {
  const builder = new OperationBuilder();
  let at = 0;
  for (const component of fitting(op, text)) {
    if (typeof component === "string") {
      builder.push(-pointLength(component));
    } else {
      const units = unitsOf(text, at, Math.abs(component));
      builder.push(component > 0 ? component : text.slice(at, at + units));
      at += units;
    }
  }
  return builder.finish();
}

function fitting(op: Operation, text: string): Operation {
  const canonical = normalize(op);
  if (inputLength(op) > pointLength(text)) {
    throw invalidOperation("the operation is longer than its document");
  }
  return canonical;
}

/**
 * Return the operation with the effect of `a` and then `b`.
 *
 * Where `b` inserts at a place at which `a` has deleted, the text goes after those deletes.
 * With this rule, and only for side `left`, composing commutes with transforming:
 * `transform(x, compose(a, b), "left")` equals
 * `transform(transform(x, a, "left"), b, "left")`.
 */
export function compose(a: Operation, b: Operation): Operation {
  const builder = new OperationBuilder();
  const source = new Reader(normalize(a));
  for (const component of normalize(b)) {
    if (typeof component === "string") {
      while (source.kind === "delete") builder.push(source.takeAll());
      builder.push(component);
    } else {
      composeSpan(builder, source, component);
    }
  }
  while (source.kind !== "end") builder.push(source.takeAll());
  return builder.finish();
}

/** Let `component`, a keep or delete of the later operation, pass over the earlier one. */
function composeSpan(builder: OperationBuilder, source: Reader, component: number): void {
  const sign = Math.sign(component);
  let wanted = Math.abs(component);
  while (wanted > 0) {
    if (source.kind === "end") {
      builder.push(sign * wanted);
      return;
    }
    if (source.kind === "delete") {
      builder.push(source.takeAll());
      continue;
    }
    const [taken, length] = source.take(wanted);
    wanted -= length;
    if (typeof taken === "number") builder.push(sign * length);
    else if (sign > 0) builder.push(taken);
  }
}

/**
 * Return `a` rewritten so that it applies after `b`; both start from one document.
 *
 * `side` is that of `a`: where both insert at one place, `left` puts the text of `a` first.
 * The operation that commits later is `left`, everywhere.
 */
export function transform(a: Operation, b: Operation, side: Side): Operation {
  const builder = new OperationBuilder();
  const source = new Reader(normalize(a));
  for (const component of normalize(b)) {
    if (source.kind === "end") break;
    if (typeof component === "string") {
      if (side === "left" && source.kind === "insert") builder.push(source.takeAll());
      builder.push(pointLength(component));
    } else {
      transformSpan(builder, source, component);
    }
  }
  while (source.kind !== "end") builder.push(source.takeAll());
  return builder.finish();
}

/** Rewrite what of `source` lies within `component`, a keep or delete of the other side. */
function transformSpan(builder: OperationBuilder, source: Reader, component: number): void {
  let wanted = Math.abs(component);
  while (wanted > 0 && source.kind !== "end") {
    if (source.kind === "insert") {
      builder.push(source.takeAll());
      continue;
    }
    const [taken, length] = source.take(wanted);
    wanted -= length;
    if (component > 0) builder.push(taken);
  }
}

/** Reads an operation in pieces of chosen length. */
class Reader {
  private index = 0;
  /** What was read of the current component: units of a string, else characters. */
  private offset = 0;

  constructor(private readonly op: Operation) {}

  get kind(): "keep" | "insert" | "delete" | "end" {
    const current = this.op[this.index];
    if (current === undefined) return "end";
    if (typeof current === "string") return "insert";
    return current > 0 ? "keep" : "delete";
  }

  /** Return what is left of the current component. */
  takeAll(): Component {
    const current = this.op[this.index] ?? 0;
    const rest =
      typeof current === "string"
        ? current.slice(this.offset)
        : current - Math.sign(current) * this.offset;
    this.advance();
    return rest;
  }

  /** Return at most `wanted` characters of the current component, and their count. */
  take(wanted: number): readonly [Component, number] {
    const current = this.op[this.index] ?? 0;
    return typeof current === "string"
      ? this.takeText(current, wanted)
      : this.takeSpan(current, wanted);
  }

  private takeText(current: string, wanted: number): readonly [Component, number] {
    const left = current.length - this.offset;
    const units = left <= wanted ? left : unitsOf(current, this.offset, wanted);
    const text = current.slice(this.offset, this.offset + units);
    this.offset += text.length;
    if (this.offset >= current.length) this.advance();
    return [text, pointLength(text)];
  }

  private takeSpan(current: number, wanted: number): readonly [Component, number] {
    const left = Math.abs(current) - this.offset;
    const length = Math.min(left, wanted);
    this.offset += length;
    if (length === left) this.advance();
    return [Math.sign(current) * length, length];
  }

  private advance(): void {
    this.index++;
    this.offset = 0;
  }
}

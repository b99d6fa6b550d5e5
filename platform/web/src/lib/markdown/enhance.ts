import type { Attachment } from "svelte/attachments";
import { copyText } from "$lib/clipboard";
import { highlight } from "./highlight";

const COPIED_MS = 1_600;

/** Gives every code block within rendered markdown a head with its language and a copy button, and its colours. */
export const codeBlocks: Attachment<HTMLElement> = (root) => {
  for (const pre of root.querySelectorAll("pre")) dress(pre);
  for (const table of root.querySelectorAll("table")) letScroll(table);
};

function dress(pre: HTMLPreElement): void {
  const code = pre.querySelector("code");
  if (code === null || pre.parentElement?.classList.contains("code-block")) return;
  const language = /language-(\S+)/.exec(code.className)?.[1] ?? "";
  const text = (code.textContent ?? "").replace(/\n$/, "");

  const head = element("div", "code-head");
  const label = element("span", "");
  label.textContent = language || "text";
  head.append(label, copyButton(text));
  const block = element("div", "code-block");
  pre.replaceWith(block);
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  block.append(head, pre);

  void highlight(text, language).then((html) => {
    if (html !== null) code.innerHTML = html;
  });
}

function copyButton(text: string): HTMLButtonElement {
  const button = element("button", "code-copy");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy code");
  button.addEventListener("click", () => {
    void copyText(text).then((copied) => {
      button.textContent = copied ? "Copied" : "Not copied";
      setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
    });
  });
  return button;
}

function letScroll(table: HTMLTableElement): void {
  const frame = element("div", "table-frame");
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "Table");
  table.replaceWith(frame);
  frame.append(table);
}

function element<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, className: string): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return made;
}

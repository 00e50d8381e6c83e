// A small part of Markdown, made of elements that can do nothing: headings, lists, code, bold and italic. Links and images
// stay text. Each character is looked at a fixed number of times.

import { h } from "./dom.js";

const FENCE = /^\s{0,3}(```|~~~)/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const ITEM = /^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;
/** Code, bold and italic: none holds the sign that ends it. */
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*/g;

/** Longer texts are shown as they are, in characters. */
const LONGEST = 100_000;

/** Nodes of a text; `plain` makes nodes of what is no Markdown. */
export function markdown(text, plain) {
  if (text.length > LONGEST) return plain(text);
  const fragment = document.createDocumentFragment();
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let number = 0; number < lines.length;) {
    const [element, next] = part(lines, number, plain);
    if (element) fragment.append(element);
    number = next;
  }
  return fragment;
}

/** What begins in a line, and the line after it. */
function part(lines, number, plain) {
  const line = lines[number];
  if (line.trim() === "") return [null, number + 1];
  const fence = FENCE.exec(line);
  if (fence) return code(lines, number + 1, fence[1], plain);
  const heading = HEADING.exec(line);
  if (heading) {
    // The page's own headings are above those of a text.
    const level = Math.min(heading[1].length + 3, 6);
    return [h(`h${level}`, {}, inline(heading[2], plain)), number + 1];
  }
  if (ITEM.test(line)) return list(lines, number, plain);
  return paragraph(lines, number, plain);
}

function code(lines, begin, fence, plain) {
  let end = begin;
  while (end < lines.length && !lines[end].trimStart().startsWith(fence)) end += 1;
  return [h("pre", {}, h("code", {}, plain(lines.slice(begin, end).join("\n")))), end + 1];
}

function list(lines, begin, plain) {
  const first = ITEM.exec(lines[begin]);
  const isOrdered = first[1] !== undefined;
  const element = h(isOrdered ? "ol" : "ul", isOrdered ? { start: first[1] } : {});
  let number = begin;
  for (; number < lines.length; number += 1) {
    const item = ITEM.exec(lines[number]);
    if (!item || (item[1] !== undefined) !== isOrdered) break;
    element.append(h("li", {}, inline(item[2], plain)));
  }
  return [element, number];
}

function paragraph(lines, begin, plain) {
  let end = begin + 1;
  const goes = (line) => line.trim() !== "" && ![FENCE, HEADING, ITEM].some((it) => it.test(line));
  while (end < lines.length && goes(lines[end])) end += 1;
  return [h("p", {}, inline(lines.slice(begin, end).join("\n"), plain)), end];
}

function inline(text, plain) {
  const nodes = [];
  let begin = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(plain(text.slice(begin, match.index)));
    const [, isCode, isBold, isItalic] = match;
    if (isCode !== undefined) nodes.push(h("code", {}, plain(isCode)));
    else if (isBold !== undefined) nodes.push(h("strong", {}, inline(isBold, plain)));
    else nodes.push(h("em", {}, inline(isItalic, plain)));
    begin = match.index + match[0].length;
  }
  nodes.push(plain(text.slice(begin)));
  return nodes;
}

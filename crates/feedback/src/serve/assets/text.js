// What models and other people wrote, shown as text.
//
// Characters that can't be seen, or that turn the direction of what follows, are shown as marks: ⟦U+202E⟧.

import { h } from "./dom.js";
import { markdown } from "./markdown.js";

/** Scripts in which joiners belong to the spelling. */
const JOINING =
  "\\p{scx=Arab}\\p{scx=Syrc}\\p{scx=Deva}\\p{scx=Beng}\\p{scx=Guru}\\p{scx=Gujr}\\p{scx=Orya}" +
  "\\p{scx=Taml}\\p{scx=Telu}\\p{scx=Knda}\\p{scx=Mlym}\\p{scx=Sinh}\\p{scx=Khmr}\\p{scx=Mymr}\\p{scx=Mong}";
/** Joiners and selectors that only do what they are for. */
const HARMLESS = [
  "(?<=\\p{Emoji}\\uFE0F?\\p{EMod}?)\\u200D(?=\\p{ExtPict})",
  "(?<=\\p{Emoji})[\\uFE0E\\uFE0F]",
  `(?<=[${JOINING}])[\\u200C\\u200D](?=[${JOINING}])`,
].join("|");
/** Controls but line feeds and tabs, formats, odd line ends, and letters without ink. */
const UNSEEN =
  "[[\\p{Cc}--[\\n\\t]]\\p{Cf}\\p{Zl}\\p{Zp}\\p{Variation_Selector}" +
  "\\u034F\\u115F\\u1160\\u17B4\\u17B5\\u2800\\u3164\\uFFA0]";
const MARKED = new RegExp(`${HARMLESS}|(?<run>${UNSEEN}+)`, "gv");

/** How many characters of a run are named, and how many marks get an element of their own. */
const NAMED = 8;
const MOST_MARKS = 2000;

/** Nodes of a text: text alone, and `span.mark` for what can't be seen. */
export function plain(text) {
  const fragment = document.createDocumentFragment();
  const lines = text.replaceAll("\r\n", "\n");
  let [begin, nMarks, pending] = [0, 0, ""];
  for (const match of lines.matchAll(MARKED)) {
    if (match.groups.run === undefined) continue;
    pending += lines.slice(begin, match.index);
    begin = match.index + match[0].length;
    nMarks += 1;
    if (nMarks > MOST_MARKS) {
      pending += nameOf(match[0]);
      continue;
    }
    fragment.append(pending, h("span", { class: "mark" }, nameOf(match[0])));
    pending = "";
  }
  fragment.append(pending + lines.slice(begin));
  return fragment;
}

function nameOf(run) {
  const all = Array.from(run);
  const names = all.slice(0, NAMED).map((it) => {
    return `U+${it.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  });
  const rest = all.length > NAMED ? ` +${all.length - NAMED}` : "";
  return `⟦${names.join(" ")}${rest}⟧`;
}

/** What each block shows, so that it can be shown otherwise. */
const shown = new WeakMap();
let isMarkdown = false;

/** A block that shows a text, and shows it anew when Markdown is turned on or off. */
export function block(text, attributes = {}) {
  const element = h("div", { class: "text", dir: "auto", ...attributes });
  shown.set(element, text);
  render(element);
  return element;
}

/** Puts another text into a block. */
export function setBlock(element, text) {
  shown.set(element, text);
  render(element);
}

function render(element) {
  const text = shown.get(element);
  element.classList.toggle("markdown", isMarkdown);
  element.replaceChildren(isMarkdown ? markdown(text, plain) : plain(text));
}

/** Whether simple Markdown is shown as what it means. */
export function showsMarkdown() {
  return isMarkdown;
}

/** Shows simple Markdown as what it means, or not any more. */
export function setMarkdown(on) {
  isMarkdown = on;
  for (const element of document.querySelectorAll(".text")) {
    if (shown.has(element)) render(element);
  }
}

// What responses answer: a text, or the turns of a conversation.

import { h } from "./dom.js";
import { tIfAny } from "./i18n.js";
import { block, plain } from "./text.js";

/** A block of a text, or one for each turn beneath who speaks. */
export function turns(prompt) {
  const attributes = { "data-testid": "prompt" };
  if (typeof prompt === "string") return block(prompt, attributes);
  return h("div", attributes, prompt.map(turn));
}

function turn({ role, content }) {
  const who = tIfAny(`role_${role}`) ?? plain(role);
  return h("div", { class: "turn" }, h("h3", {}, who), block(content));
}

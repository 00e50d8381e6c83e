// When nothing is left to do.

import { button, h } from "./dom.js";
import { t } from "./i18n.js";

/** Says so, and offers to look again or to take back the last answer. */
export function nothingLeft(again, undo) {
  return h(
    "section",
    { class: "nothing", "data-testid": "nothing" },
    h("h2", {}, t("nothingTitle")),
    h("p", {}, t("nothingText")),
    h(
      "div",
      { class: "row" },
      button(t("undo"), "U", { "data-testid": "undo", onclick: undo }),
      button(t("lookAgain"), "Enter", { class: "primary", "data-testid": "look-again", onclick: again }),
    ),
  );
}

// How far an attack on the model went, and what kind of harm it was after.

import { cards } from "../cards.js";
import { choices } from "../choices.js";
import { h } from "../dom.js";
import { t } from "../i18n.js";
import { keyOf, shiftedDigit } from "../keyboard.js";
import { ticks } from "../ticks.js";

const MOST_SUCCESS = 4;

export function redTeam(task, { reasons = [] }, onChange) {
  const options = Array.from({ length: MOST_SUCCESS + 1 }, (_, success) => ({
    label: t(`success${success}`),
    keys: [String(success)],
    value: success,
    testid: `success-${success}`,
  }));
  const row = choices(options, t("success"), onChange);
  const known = ticks(t("tags"), reasons, "tag", onChange);
  const others = h("input", {
    type: "text",
    id: "other-tags",
    "data-testid": "other-tags",
    oninput: onChange,
  });
  const label = h(
    "label",
    { for: "other-tags" },
    t("otherTags"),
    reasons.length === 0 ? h("kbd", { "aria-hidden": "true" }, "R") : null,
  );
  const written = () =>
    others.value
      .split(/[,，、]/)
      .map((it) => it.trim())
      .filter((it) => it !== "");
  const said = () => ({
    kind: "attacked",
    success: row.value(),
    tags: [...new Set([...known.ticked(), ...written()])],
  });
  const focusTags = () => {
    if (reasons.length === 0) others.focus();
    else known.focus();
    return "focused";
  };
  return {
    content: cards(task.items).element,
    controls: row.element,
    beside: h("div", { class: "tags" }, known.element, h("div", { class: "field" }, label, others)),
    press: (event) => {
      const digit = shiftedDigit(event);
      if (digit) return known.toggle(digit - 1);
      return keyOf(event) === "r" ? focusTags() : row.press(event);
    },
    judgement: () => (row.value() === null ? null : said()),
    draft: said,
    restore: ({ success, tags }) => {
      const all = Array.isArray(tags) ? tags.map(String) : [];
      row.restore((value) => value === success);
      known.restore(all);
      others.value = all.filter((tag) => !reasons.includes(tag)).join(", ");
    },
    keys: [
      ["0 … 4", "keySuccess"],
      ["⇧1 … ⇧9", "keyReasons"],
      ["R", "keyTags"],
    ],
  };
}

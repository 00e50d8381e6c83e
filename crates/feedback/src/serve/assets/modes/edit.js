// A better response than the one that is shown.

import { cards } from "../cards.js";
import { button, h } from "../dom.js";
import { t } from "../i18n.js";
import { keyOf } from "../keyboard.js";

export function edit(task, _settings, onChange) {
  const original = task.items[0].text.replaceAll("\r\n", "\n");
  const area = h("textarea", { id: "version", dir: "auto", "data-testid": "edited", oninput: onChange });
  area.value = original;
  const startOver = button(t("startOver"), null, {
    class: "quiet",
    onclick: () => {
      area.value = original;
      onChange();
    },
  });
  const { element } = cards(task.items);
  const head = h("header", {}, h("label", { for: "version" }, t("yourText")), startOver);
  element.append(h("section", { class: "card writing" }, head, area));
  element.classList.replace("n1", "n2");
  const text = () => ({ kind: "edited", text: area.value });
  return {
    content: element,
    controls: null,
    press: (event) => {
      if (keyOf(event) !== "e") return undefined;
      area.focus();
      return "focused";
    },
    judgement: () => (area.value.trim() === "" ? null : text()),
    draft: text,
    restore: (said) => {
      area.value = typeof said.text === "string" ? said.text : original;
    },
    warning: () => (area.value === original ? t("unchangedText") : null),
    submitKey: "Ctrl Enter",
    keys: [
      ["E", "keyEditFocus"],
      ["Ctrl Enter", "keyEditSubmit"],
    ],
  };
}

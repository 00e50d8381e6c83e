// Whether one response is good.

import { cards } from "../cards.js";
import { choices } from "../choices.js";
import { t } from "../i18n.js";

export function thumbs(task, _settings, onChange) {
  const thumb = (up, label, keys, testid) => {
    return { label, keys, value: { kind: "thumb", up }, testid, look: up ? "good" : "bad" };
  };
  const options = [
    thumb(true, t("thumbUp"), ["1", "ArrowUp"], "thumb-up"),
    thumb(false, t("thumbDown"), ["2", "ArrowDown"], "thumb-down"),
  ];
  const row = choices(options, t("kind_thumbs"), onChange);
  return {
    content: cards(task.items).element,
    controls: row.element,
    press: row.press,
    judgement: row.value,
    draft: row.value,
    restore: (said) => row.restore((value) => value.kind === said.kind && value.up === said.up),
    keys: [["1 2  ↑ ↓", "keyThumbs"]],
  };
}

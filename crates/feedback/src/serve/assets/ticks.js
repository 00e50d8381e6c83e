// Boxes to tick.

import { h } from "./dom.js";

/** A group of boxes, one for each name; `testid-0` and so on are their hooks. */
export function ticks(label, names, testid, onChange) {
  const boxes = names.map((name, place) => {
    const box = h("input", { type: "checkbox", "data-testid": `${testid}-${place}`, onchange: onChange });
    const key = place < 9 ? h("kbd", { "aria-hidden": "true" }, `⇧${place + 1}`) : null;
    return { name, box, element: h("label", { class: "tick" }, box, h("span", {}, name), key) };
  });
  const element = h(
    "fieldset",
    { class: "ticks" },
    h("legend", {}, label),
    boxes.map((it) => it.element),
  );
  element.hidden = names.length === 0;
  return {
    element,
    ticked: () => boxes.filter((it) => it.box.checked).map((it) => it.name),
    restore: (ticked) => boxes.forEach((it) => (it.box.checked = ticked.includes(it.name))),
    toggle: (place) => {
      if (!boxes[place]) return undefined;
      boxes[place].box.checked = !boxes[place].box.checked;
      onChange();
      return "ticked";
    },
    focus: () => boxes[0]?.box.focus(),
  };
}

// Buttons of which one is chosen, by mouse or by key.

import { announce, button, h } from "./dom.js";
import { keyOf } from "./keyboard.js";

/**
 * A row of choices. Each option has a `label`, `keys` of which the first is shown, a `value` and a `testid`. `press` gives
 * "chosen", "again" if the same was chosen already, or nothing if the key means none of them.
 */
export function choices(options, label, onChange) {
  let chosen = null;
  const choose = (option) => {
    chosen = option;
    for (const it of options) it.element.setAttribute("aria-pressed", String(it === chosen));
    if (option) announce(option.spoken ?? option.label);
    onChange();
  };
  for (const option of options) {
    option.element = button(option.label, option.keys[0], {
      class: `choice ${option.look ?? ""}`,
      "aria-pressed": "false",
      "aria-label": option.spoken,
      "data-testid": option.testid,
      onclick: () => choose(option),
    });
  }
  const press = (event) => {
    const option = options.find((it) => it.keys.includes(keyOf(event)));
    if (!option) return undefined;
    const again = option === chosen;
    if (!again) choose(option);
    return again ? "again" : "chosen";
  };
  const row = h("div", { class: "choices", role: "group", "aria-label": label });
  row.append(...options.map((option) => option.element));
  return {
    element: row,
    press,
    value: () => chosen?.value ?? null,
    /** Chooses the option of which this is true. */
    restore: (isIt) => choose(options.find((option) => isIt(option.value)) ?? null),
    /** Chooses the next or the one before. */
    step: (by) => {
      const last = options.length - 1;
      const place = chosen === null ? (by > 0 ? -1 : last + 1) : options.indexOf(chosen);
      choose(options[Math.min(Math.max(place + by, 0), last)]);
    },
  };
}

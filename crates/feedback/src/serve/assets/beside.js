// What can be said beside a judgement: reasons, which is better in each respect, a comment.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { keyOf, shiftedDigit } from "./keyboard.js";
import { ticks } from "./ticks.js";

/** The fields that a project offers. */
export function beside(settings, onChange) {
  const { kind } = settings.kind;
  // What is a reason elsewhere is a kind of harm here.
  const reasons = ticks(t("reasons"), kind === "red_team" ? [] : settings.reasons, "reason", onChange);
  const aspects = (kind === "pair" ? settings.aspects : []).map((name, row) => aspect(name, row, onChange));
  const compared = h(
    "fieldset",
    { class: "aspects" },
    h("legend", {}, t("aspects")),
    aspects.map((it) => it.element),
  );
  compared.hidden = aspects.length === 0;
  const comment = h("textarea", {
    id: "comment",
    rows: "2",
    maxlength: "16000",
    placeholder: t("commentHint"),
    "data-testid": "comment",
    oninput: onChange,
  });
  const label = h("label", { for: "comment" }, t("comment"), h("kbd", { "aria-hidden": "true" }, "C"));
  return {
    element: h(
      "div",
      { class: "beside" },
      reasons.element,
      compared,
      h("div", { class: "field" }, label, comment),
    ),
    said: () => ({
      reasons: reasons.ticked(),
      aspects: aspects.map((it) => it.said()).filter((it) => it !== null),
      comment: comment.value,
    }),
    restore: (said) => {
      reasons.restore(Array.isArray(said.reasons) ? said.reasons : []);
      const earlier = Array.isArray(said.aspects) ? said.aspects : [];
      for (const it of aspects) it.restore(earlier);
      comment.value = typeof said.comment === "string" ? said.comment : "";
    },
    press: (event) => {
      const digit = shiftedDigit(event);
      if (digit) return reasons.toggle(digit - 1);
      const focus = { r: reasons.focus, a: () => aspects[0]?.focus(), c: () => comment.focus() }[
        keyOf(event)
      ];
      focus?.();
      return focus && "focused";
    },
  };
}

/** A respect in which A, B or neither is better; nothing is said of it until something is chosen. */
function aspect(name, row, onChange) {
  const radio = (value, label) => {
    const attributes = { type: "radio", name: `aspect-${row}`, value, onchange: onChange };
    const input = h("input", { ...attributes, "data-testid": `aspect-${row}-${value}` });
    return { value, input, element: h("label", {}, input, h("span", {}, label)) };
  };
  const radios = [radio("first", "A"), radio("neither", t("neither")), radio("second", "B")];
  const choiceOf = (value) => (value === "neither" ? null : value);
  return {
    element: h(
      "div",
      { class: "aspect", role: "radiogroup", "aria-label": name },
      h("span", {}, name),
      radios.map((it) => it.element),
    ),
    said: () => {
      const chosen = radios.find((it) => it.input.checked);
      return chosen ? { name, choice: choiceOf(chosen.value) } : null;
    },
    restore: (earlier) => {
      const found = earlier.find((it) => it?.name === name);
      for (const it of radios) it.input.checked = found !== undefined && found.choice === choiceOf(it.value);
    },
    focus: () => radios[0].input.focus(),
  };
}

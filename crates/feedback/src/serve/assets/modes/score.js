// A grade of one response.

import { cards } from "../cards.js";
import { choices } from "../choices.js";
import { announce, h } from "../dom.js";
import { number, t } from "../i18n.js";
import { keyOf } from "../keyboard.js";

/** More grades than this are typed, not chosen. */
const MOST_BUTTONS = 11;

export function score(task, { least = 1, most = 7 }, onChange) {
  const control = most - least < MOST_BUTTONS ? buttons(least, most, onChange) : field(least, most, onChange);
  const judgement = () => (control.grade() === null ? null : { kind: "scored", score: control.grade() });
  return {
    content: cards(task.items).element,
    controls: ends(control.element, least, most),
    press: control.press,
    judgement,
    draft: judgement,
    restore: (said) => control.set(said.kind === "scored" ? said.score : null),
    keys: [control.help, ["← →", "keyGradeArrows"]],
  };
}

function ends(element, least, most) {
  const end = (grade, key) => h("span", { class: "end" }, `${number(grade)} ${t(key)}`);
  return h("div", { class: "scale" }, end(least, "worst"), element, end(most, "best"));
}

function buttons(least, most, onChange) {
  const grades = Array.from({ length: most - least + 1 }, (_, place) => least + place);
  // A digit means its grade where all grades are digits, and else the place in the row.
  const areDigits = least >= 0 && most <= 9;
  const keyFor = (grade, place) => (areDigits ? String(grade) : place < 10 ? String((place + 1) % 10) : "");
  const options = grades.map((grade, place) => ({
    label: number(grade),
    keys: [keyFor(grade, place)],
    value: grade,
    testid: `score-${grade}`,
    look: "grade",
  }));
  const row = choices(options, t("grade"), onChange);
  const press = (event) => arrow(event, row.step) ?? row.press(event);
  const set = (grade) => row.restore((value) => value === grade);
  return { element: row.element, press, grade: row.value, set, help: ["0 … 9", "keyGrade"] };
}

function field(least, most, onChange) {
  const bounds = { min: least, max: most, step: 1 };
  const input = h("input", { type: "number", "aria-label": t("grade"), "data-testid": "score", ...bounds });
  const slider = h("input", { type: "range", "aria-label": t("grade"), tabindex: "-1", ...bounds });
  const grade = () => (input.value !== "" && input.checkValidity() ? Number(input.value) : null);
  const set = (value) => {
    input.value = value ?? "";
    slider.value = value ?? (least + most) / 2;
    if (value !== null) announce(String(value));
    onChange();
  };
  input.addEventListener("input", () => {
    slider.value = input.value;
    onChange();
  });
  slider.addEventListener("input", () => set(Number(slider.value)));
  const step = (by) => set(Math.min(Math.max((grade() ?? Math.round((least + most) / 2)) + by, least), most));
  const press = (event) => {
    if (!/^[0-9-]$/.test(keyOf(event))) return arrow(event, step);
    input.value = "";
    // The key itself is typed into the field.
    input.focus();
    return "typed";
  };
  return {
    element: h("div", { class: "choices" }, input, slider),
    press,
    grade,
    set,
    help: ["0 … 9", "keyGradeType"],
  };
}

function arrow(event, step) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return undefined;
  step(by);
  return "chosen";
}

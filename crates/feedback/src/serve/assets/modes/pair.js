// Which of two responses is better, and by how much.

import { cards } from "../cards.js";
import { choices } from "../choices.js";
import { t } from "../i18n.js";

export function pair(task, { points = 2, ties = true }, onChange) {
  const scale = points === 2 ? sides() : degrees(points);
  const middle = ties ? [tie(points)] : [];
  const bad = ties ? [bothBad()] : [];
  const half = scale.length / 2;
  const options = [...scale.slice(0, half), ...middle, ...scale.slice(half), ...bad];
  const row = choices(options, t("kind_pair"), onChange);
  row.element.classList.add("pair");
  return {
    content: cards(task.items).element,
    controls: row.element,
    press: row.press,
    judgement: row.value,
    draft: row.value,
    restore: (said) => row.restore((value) => isSame(value, { strength: 1, ...said })),
    keys: [
      points === 2 ? ["1 2", "keyChoose"] : [`1 … ${points}`, "keyStrength"],
      ...(ties
        ? [
            [points === 2 ? "3 T" : "T", "keyTie"],
            ["B", "keyBothBad"],
          ]
        : []),
    ],
  };
}

function isSame(value, said) {
  return ["kind", "choice", "strength"].every((it) => value[it] === undefined || value[it] === said[it]);
}

function sides() {
  return ["first", "second"].map((choice, place) => ({
    label: t(["aBetter", "bBetter"][place]),
    keys: [String(place + 1)],
    value: { kind: "preferred", choice, strength: 1 },
    testid: `choose-${choice}`,
    look: `side-${choice}`,
  }));
}

/** From "A is much better" on the left to "B is much better" on the right. */
function degrees(points) {
  return Array.from({ length: points }, (_, place) => {
    const choice = place < points / 2 ? "first" : "second";
    const strength = choice === "first" ? points / 2 - place : place - points / 2 + 1;
    const [letter, degree] = [choice === "first" ? "A" : "B", t(degreeOf(strength, points))];
    return {
      label: `${letter} ${degree}`,
      spoken: t("strengthLabel", { letter, degree }),
      keys: [String(place + 1)],
      value: { kind: "preferred", choice, strength },
      testid: `strength-${place + 1}`,
      look: `side-${choice} degree-${strength}`,
    };
  });
}

/** On a scale of four points, a response is slightly or much better. */
function degreeOf(strength, points) {
  return points === 4 && strength === 2 ? "strength3" : `strength${strength}`;
}

function tie(points) {
  const keys = points === 2 ? ["3", "t"] : ["T", "t"];
  return { label: t("tie"), keys, value: { kind: "tie" }, testid: "tie" };
}

function bothBad() {
  return {
    label: t("bothBad"),
    keys: ["B", "b"],
    value: { kind: "both_bad" },
    testid: "both-bad",
    look: "apart",
  };
}

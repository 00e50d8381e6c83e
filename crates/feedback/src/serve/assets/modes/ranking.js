// The order of several responses.

import { cards } from "../cards.js";
import { announce, button, h, letter } from "../dom.js";
import { draggable } from "../drag.js";
import { t } from "../i18n.js";
import { keyOf } from "../keyboard.js";
import { closeGaps, isAsShown, moved, place } from "../ranks.js";

export function ranking(task, { ties = true }, onChange) {
  const n = task.items.length;
  let ranks = Array(n).fill(null);
  let current = 0;

  const set = (next) => {
    ranks = next;
    draw();
    announce(spoken(current, ranks[current]));
    onChange();
  };
  const give = (item, rank) => {
    current = item;
    set(place(ranks, item, rank, ties));
  };
  const move = (item, by) => {
    current = item;
    set(moved(ranks, item, by));
  };
  const { element, all } = cards(task.items, (item) => h("span", { class: "moves" }, upDown(item, move)));
  const ladder = ladderOf(n, (rank) => give(current, rank));
  draggable([element, ladder.element], (item, rank) => give(item, rank));
  const draw = () => {
    ladder.draw(ranks, current);
    all.forEach((card, item) => {
      card.setAttribute("aria-label", spoken(item, ranks[item]));
      card.querySelector(".badge").dataset.rank = ranks[item] ?? "";
    });
  };
  all.forEach((card, item) =>
    card.addEventListener("focusin", () => {
      current = item;
      ladder.draw(ranks, current);
    }),
  );
  draw();
  return {
    content: element,
    controls: ladder.element,
    press: (event) => {
      const key = keyOf(event);
      const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
      if (by && event.shiftKey) move(current, by);
      else if (by) all[(current + by + n) % n].focus();
      else if (/^[1-9]$/.test(key) && Number(key) <= n) give(current, Number(key));
      else return undefined;
      return "chosen";
    },
    focus: () => all[0].focus({ preventScroll: true }),
    judgement: () => (ranks.includes(null) ? null : { kind: "ranked", ranks: closeGaps(ranks) }),
    draft: () => ({ kind: "ranked", ranks }),
    restore: (said) => {
      const valid = (rank) => (Number.isInteger(rank) && rank >= 1 && rank <= n ? rank : null);
      const known = Array.isArray(said.ranks) && said.ranks.length === n;
      ranks = known ? said.ranks.map(valid) : Array(n).fill(null);
      draw();
    },
    warning: () => (isAsShown(ranks) ? t("unchangedOrder") : null),
    keys: [
      ["← → ↑ ↓", "keyFocus"],
      [`1 … ${n}`, "keyRank"],
      ["⇧↑ ⇧↓", "keyMove"],
    ],
  };
}

function spoken(item, rank) {
  const values = { letter: letter(item), rank };
  return rank === null ? t("rankNone", values) : t("rankOf", values);
}

function upDown(item, move) {
  const one = (sign, label, hook, by) =>
    button(sign, null, {
      class: "move",
      "aria-label": t(label, { letter: letter(item) }),
      "data-testid": `${hook}-${item}`,
      onclick: () => move(item, by),
    });
  return [one("▲", "moveUp", "up", -1), one("▼", "moveDown", "down", 1)];
}

/** The places, from best to worst, with the responses that have them. */
function ladderOf(n, onPlace) {
  const tray = h("div", { class: "tray", "data-rank": "0", title: t("unranked"), "data-testid": "tray" });
  const slots = Array.from({ length: n }, (_, place) => {
    const rank = place + 1;
    const attributes = { class: "slot", "data-rank": rank, "data-testid": `rank-${rank}` };
    const spoken = { type: "button", "aria-label": t("rankLabel", { rank }), onclick: () => onPlace(rank) };
    return h(
      "button",
      { ...attributes, ...spoken },
      h("kbd", { "aria-hidden": "true" }, rank),
      h("span", { class: "held" }),
    );
  });
  const draw = (ranks, current) => {
    const chip = (item) =>
      h("span", { class: item === current ? "badge current" : "badge", "data-item": item }, letter(item));
    const having = (rank) => ranks.flatMap((it, item) => (it === rank ? [chip(item)] : []));
    tray.replaceChildren(...having(null));
    slots.forEach((slot, place) => slot.lastChild.replaceChildren(...having(place + 1)));
  };
  const end = (key) => h("span", { class: "end" }, t(key));
  return { element: h("div", { class: "ladder" }, tray, end("best"), slots, end("worst")), draw };
}

// Responses, each on a card of its own. Nothing on a card says where the response comes from.

import { h, letter } from "./dom.js";
import { t } from "./i18n.js";
import { block } from "./text.js";

/** A card for each item; `extra` puts something into a card's head. */
export function cards(items, extra = () => null) {
  const all = items.map((item, place) => card(item, place, items.length > 1, extra));
  const element = h("div", { class: `cards n${Math.min(items.length, 3)}` });
  element.append(...all);
  return { element, all };
}

function card(item, place, isNamed, extra) {
  const name = isNamed ? t("response", { letter: letter(place) }) : t("oneResponse");
  const unfinished = h("span", { class: "tag", title: t("unfinishedHint") }, t("unfinished"));
  const badge = isNamed ? h("span", { class: "badge", "data-item": place }, letter(place)) : null;
  return h(
    "article",
    { class: "card", tabindex: "0", "aria-label": name, "data-place": place },
    h("header", {}, badge, h("h2", {}, name), item.finished ? null : unfinished, extra(place)),
    block(item.text, { "data-testid": `item-${place}` }),
  );
}

// What the page says about itself: what went wrong and what to do, and what waits to be sent.

import { button, h } from "./dom.js";
import { t, tIfAny } from "./i18n.js";

let banner = null;
let trouble = { error: null, nUnsent: 0 };
const place = () => document.getElementById("notices");

/**
 * Says what happened, until it is dismissed or something else is said. `look` is "error", "warning" or "note"; what is
 * `passing` is gone as soon as something else is chosen.
 */
export function notice(text, look = "note", { isPassing = false } = {}) {
  banner = { text, look, isPassing };
  drawNotices();
}

/** Says why something was refused, and what to do. */
export function refused(error) {
  notice(
    tIfAny(`err_${error.code}`, { message: error.message }) ?? t("err_other", { message: error.message }),
    "error",
  );
}

export function clearNotice() {
  if (banner === null) return;
  banner = null;
  drawNotices();
}

export function clearPassing() {
  if (banner?.isPassing) clearNotice();
}

/** Says that requests fail, or not any more. */
export function setTrouble(error) {
  trouble.error = error;
  drawNotices();
}

export function setUnsent(nUnsent) {
  trouble.nUnsent = nUnsent;
  drawNotices();
}

/** Draws all anew, as after a change of the language. */
export function drawNotices() {
  const line = troubleLine();
  place().replaceChildren(...[line, banner && bannerOf(banner)].filter((it) => it !== null));
}

function bannerOf({ text, look }) {
  const attributes = {
    class: `banner ${look}`,
    role: look === "error" ? "alert" : "status",
    "data-testid": "banner",
  };
  const close = button("✕", null, { class: "quiet", "aria-label": t("dismiss"), onclick: clearNotice });
  return h("div", attributes, h("span", {}, text), close);
}

function troubleLine() {
  const { error, nUnsent } = trouble;
  if (error === null) return null;
  const known = { offline: "offline", disk_full: "troubleFull", too_many: "troubleMany" };
  // Somebody who types fast isn't told of a pause of a second.
  if (error.code === "too_many" && (error.waitSeconds ?? 0) <= 2) return null;
  const text = t(known[error.code] ?? "troubleServer", { message: error.message, n: nUnsent });
  return h("div", { class: "banner warning", role: "status", "data-testid": "offline" }, h("span", {}, text));
}

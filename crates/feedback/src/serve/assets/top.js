// The line at the top: where one is, how far the project is, and how the page looks.

import { button, h, kept } from "./dom.js";
import { number, percent, switchLanguage, t } from "./i18n.js";

const THEMES = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

/** Draws it anew. */
export function drawTop({ project, progress, agreement, session, help, relabel, leave }) {
  const home = h("a", { href: "#/", class: "home", "aria-label": t("projects") }, "Rein");
  const where = project ? h("h1", {}, project.name) : null;
  const tools = h(
    "div",
    { class: "tools" },
    languageButton(relabel),
    themeButton(),
    helpButton(help),
    session && who(session, leave),
  );
  document
    .getElementById("top")
    .replaceChildren(...[home, where, progressOf(progress, agreement), tools].filter(Boolean));
  document.title = project ? `${project.name} · Rein` : "Rein";
}

function progressOf(progress, agreement) {
  if (!progress) return h("span", { class: "gap" });
  const { n_done: done, n_tasks: all, n_mine: mine } = progress;
  const counts = t("nTasks", { done: number(done), all: number(all) });
  const share =
    typeof agreement === "number"
      ? h("span", { title: t("agreementHint") }, t("agreement", { share: percent(agreement) }))
      : null;
  const bar = h("progress", { max: Math.max(all, 1), value: done, "aria-label": counts });
  const texts = [h("span", {}, counts), h("span", {}, t("nMine", { mine: number(mine) })), share];
  return h(
    "div",
    { class: "progress", "data-testid": "progress" },
    bar,
    h("div", { class: "counts" }, texts.filter(Boolean)),
  );
}

function languageButton(relabel) {
  const change = () => {
    switchLanguage();
    relabel();
  };
  return button(t("languageSwitch"), null, {
    class: "quiet",
    "aria-label": t("languageLabel"),
    "data-testid": "language",
    onclick: change,
  });
}

function themeButton() {
  const theme = () => document.documentElement.dataset.theme ?? "auto";
  const name = () => t({ auto: "themeAuto", light: "themeLight", dark: "themeDark" }[theme()]);
  const element = button(SIGNS[theme()], null, {
    class: "quiet sign",
    "aria-label": name(),
    title: name(),
    "data-testid": "theme",
  });
  element.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    kept.set("theme", next === "auto" ? null : next);
    element.textContent = SIGNS[next];
    element.title = name();
    element.setAttribute("aria-label", name());
  });
  return element;
}

function helpButton(help) {
  return button(t("help"), "?", { class: "quiet", "data-testid": "help", onclick: help });
}

function who({ annotator }, leave) {
  const out = button(t("logOut"), null, { "data-testid": "log-out", onclick: leave });
  return h("details", { class: "who" }, h("summary", {}, annotator), out);
}

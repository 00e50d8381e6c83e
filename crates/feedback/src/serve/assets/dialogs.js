// What is asked or shown over the page.

import { button, h } from "./dom.js";
import { t } from "./i18n.js";

const GENERAL = [
  ["Enter", "keySubmit"],
  ["S", "keySkip"],
  ["F", "keyFlag"],
  ["U ⌫", "keyUndo"],
  ["Ctrl S", "keyDraft"],
  ["⇧1 … ⇧9", "keyReasons"],
  ["R A C", "keyFields"],
  ["M", "keyMarkdown"],
  ["Esc", "keyEscape"],
  ["?", "keyHelp"],
];

/** Shows the keys; those of a mode first. */
export function showHelp(keys) {
  const rows = [...keys, ...GENERAL.filter(([key]) => keys.every(([other]) => other !== key))];
  const list = rows.map(([key, meaning]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, t(meaning))]);
  const close = button(t("close"), "Esc", { onclick: () => dialog.close() });
  const dialog = open(
    "help-dialog",
    t("helpTitle"),
    h("p", {}, t("helpTwice")),
    h("dl", { class: "keys" }, list),
    close,
  );
  dialog.addEventListener("keydown", (event) => event.key === "?" && dialog.close());
}

/** Asks what is wrong with a task. Gives the reason, or `null` if it was only a thought. */
export function askWhatIsWrong() {
  const reason = h("textarea", {
    rows: "3",
    placeholder: t("flagHint"),
    "aria-label": t("flagTitle"),
    "data-testid": "flag-reason",
  });
  const send = button(t("flag"), "Enter", {
    class: "primary",
    "data-testid": "flag-send",
    onclick: () => finish(reason.value),
  });
  const cancel = button(t("cancel"), "Esc", { onclick: () => dialog.close() });
  const dialog = open("flag-dialog", t("flagTitle"), reason, h("div", { class: "row" }, cancel, send));
  let answer = null;
  const finish = (value) => {
    answer = value;
    dialog.close();
  };
  reason.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    finish(reason.value);
  });
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(answer)));
}

/** Whether something is asked or shown over the page. */
export function isDialogOpen() {
  return document.querySelector("dialog[open]") !== null;
}

function open(testid, title, ...content) {
  const dialog = h("dialog", { "data-testid": testid, "aria-label": title }, h("h2", {}, title), ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

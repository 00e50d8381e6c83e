// One task on the page: what is asked, what can be said, and the keys to say it.

import { beside } from "./beside.js";
import { button, h } from "./dom.js";
import { t } from "./i18n.js";
import { isControl, isWriting, keyOf } from "./keyboard.js";
import { edit } from "./modes/edit.js";
import { pair } from "./modes/pair.js";
import { ranking } from "./modes/ranking.js";
import { redTeam } from "./modes/red_team.js";
import { score } from "./modes/score.js";
import { thumbs } from "./modes/thumbs.js";
import { setMarkdown, showsMarkdown } from "./text.js";
import { turns } from "./turns.js";

const MODES = { pair, ranking, score, thumbs, edit, red_team: redTeam };

export class Sheet {
  constructor(task, settings, { clock, lease, openedAt, said, actions, onChange }) {
    Object.assign(this, { task, clock, lease, openedAt, actions });
    this.isUntouched = true;
    this.isBusy = false;
    const changed = () => {
      this.isUntouched = false;
      this.warned = null;
      if (this.isReady) onChange();
    };
    const { kind } = settings.kind;
    this.mode = MODES[kind](task, { ...settings.kind, reasons: settings.reasons }, changed);
    this.beside = beside(settings, changed);
    this.element = this.draw();
    if (said && typeof said === "object") this.restore(said);
    this.isUntouched = true;
    this.isReady = true;
  }

  /** To be called once it is on the page. */
  begin() {
    scrollTo(0, 0);
    // Of a long conversation, the turn that is answered is seen first.
    if (typeof this.task.prompt !== "string") this.prompt.scrollTop = this.prompt.scrollHeight;
    if (this.mode.focus) this.mode.focus();
    else document.getElementById("main").focus({ preventScroll: true });
  }

  close() {
    this.clock.stop();
    this.lease.end();
  }

  /** The answer as it goes to the server, or `null` while something is missing. */
  answer() {
    const judgement = this.mode.judgement();
    return judgement && { ...judgement, ...this.beside.said() };
  }

  draft() {
    return { ...this.mode.draft(), ...this.beside.said() };
  }

  restore(said) {
    this.mode.restore(said);
    this.beside.restore(said);
  }

  /** What should be thought of before this is submitted; said once. */
  warning() {
    const warning = this.mode.warning?.() ?? null;
    if (warning === this.warned) return null;
    this.warned = warning;
    return warning;
  }

  setBusy(isBusy) {
    this.isBusy = isBusy;
    this.element.setAttribute("aria-busy", String(isBusy));
    this.submitLabel.textContent = t(isBusy ? "sending" : "submit");
    for (const it of this.element.querySelectorAll("button, input, textarea")) it.disabled = isBusy;
  }

  press(event) {
    const key = keyOf(event);
    const isChord = event.ctrlKey || event.metaKey;
    if (isChord && key === "s") return this.does(event, this.actions.draft);
    if (isChord && event.key === "Enter") return this.does(event, this.actions.submit);
    if (isWriting(event)) return this.pressWriting(event);
    if (isChord || event.altKey) return undefined;
    if (key === "Enter") return this.pressEnter(event);
    const outcome = this.isBusy ? undefined : (this.mode.press(event) ?? this.pressAction(event, key));
    if (outcome === "again") return this.does(event, this.actions.submit);
    if (outcome !== undefined && outcome !== "typed") event.preventDefault();
    return outcome;
  }

  /** Within a field, keys are text, but for those that leave it. */
  pressWriting(event) {
    const isLine = event.target.tagName === "INPUT";
    if (event.key === "Escape") event.target.blur();
    else if (event.key === "Enter" && isLine && !event.isComposing) this.does(event, this.actions.submit);
  }

  /** Enter presses what is in focus, and else submits. */
  pressEnter(event) {
    const { target } = event;
    const isChosen = target.getAttribute?.("aria-pressed") === "true" && target.classList.contains("choice");
    const isTick = target.tagName === "INPUT";
    if (isControl(target) && !isChosen && !isTick) return undefined;
    return this.does(event, this.actions.submit);
  }

  pressAction(event, key) {
    if (event.shiftKey) return this.beside.press(event);
    const { skip, flag, undo } = this.actions;
    const action = { s: skip, f: flag, u: undo, Backspace: undo, m: () => this.toggleMarkdown() }[key];
    if (!action) return this.beside.press(event);
    action();
    return "done";
  }

  does(event, action) {
    event.preventDefault();
    action();
    return "done";
  }

  toggleMarkdown() {
    setMarkdown(!showsMarkdown());
    this.markdownBox.checked = showsMarkdown();
  }

  draw() {
    const { task, mode } = this;
    this.markdownBox = h("input", {
      type: "checkbox",
      "data-testid": "markdown",
      checked: showsMarkdown(),
      onchange: () => this.toggleMarkdown(),
    });
    const toggle = h(
      "label",
      { class: "tick" },
      this.markdownBox,
      t("markdown"),
      h("kbd", { "aria-hidden": "true" }, "M"),
    );
    const head = h("header", {}, h("h2", {}, t("prompt")), toggle);
    this.prompt = h(
      "section",
      { class: "prompt", "aria-label": t("prompt"), tabindex: "0" },
      head,
      turns(task.prompt),
    );
    return h(
      "div",
      { class: "sheet" },
      this.prompt,
      mode.content,
      mode.beside ?? null,
      this.beside.element,
      this.bar(),
    );
  }

  bar() {
    const { submit, skip, flag, undo, draft } = this.actions;
    const action = (label, key, testid, onclick) =>
      button(label, key, { class: "quiet", "data-testid": testid, onclick });
    this.submitLabel = h("span", {}, t("submit"));
    const send = button(this.submitLabel, this.mode.submitKey ?? "Enter", {
      class: "primary",
      "data-testid": "submit",
      onclick: submit,
    });
    const left = [
      action(t("skip"), "S", "skip", skip),
      action(t("flag"), "F", "flag", flag),
      action(t("undo"), "U", "undo", undo),
    ];
    const right = [action(t("draft"), "Ctrl S", "draft", draft), send];
    return h(
      "footer",
      { class: "bar" },
      h("div", { class: "row" }, left),
      h("div", { class: "middle" }, this.mode.controls),
      h("div", { class: "row" }, right),
    );
  }
}

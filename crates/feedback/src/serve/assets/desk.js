// A project's tasks, one after another.

import { Clock } from "./clock.js";
import { askWhatIsWrong } from "./dialogs.js";
import { announce, uuid } from "./dom.js";
import * as forms from "./forms.js";
import { t } from "./i18n.js";
import { Lease } from "./lease.js";
import { clearNotice, clearPassing, notice, refused } from "./notices.js";
import { nothingLeft } from "./nothing.js";
import { persistently, request } from "./session.js";
import { Sheet } from "./sheet.js";

/** Refusals after which the task is still there to be answered. */
const STAYS = ["bad_answer", "bad_request", "too_large", "suspended"];

/** Looks by itself whether there is something to do, in milliseconds. */
const LOOKS_AGAIN = 30_000;
/** What is missing or to be thought of is said until something changes. */
const PASSING = { isPassing: true };

export class Desk {
  constructor(project, session, outbox, place, onProgress) {
    Object.assign(this, { project, annotator: session.annotator, outbox, place, onProgress });
    this.sheet = null;
    this.keepForm = () => this.remember();
    addEventListener("pagehide", this.keepForm);
  }

  /** Leaves; what the form holds is kept. */
  close() {
    this.remember();
    removeEventListener("pagehide", this.keepForm);
    clearTimeout(this.timer);
    this.sheet?.close();
    this.isClosed = true;
  }

  /** Shows what is to be done next. */
  async next() {
    // The server counts what it knows: what is unsent goes first.
    await this.outbox.flush();
    const asked = await this.asking(() => request("GET", this.path));
    if (!asked) return;
    this.onProgress(asked);
    if (asked.task) this.show(asked.task);
    else this.showNothing();
  }

  get path() {
    return `/api/next?project=${encodeURIComponent(this.project.name)}`;
  }

  /** Keys that mean something for the task at hand. */
  get keys() {
    return this.sheet?.mode.keys ?? [];
  }

  show(task) {
    this.sheet?.close();
    const form = forms.recall(this.annotator, task);
    const clock = new Clock(form?.activeMs ?? 0);
    this.sheet = new Sheet(task, this.project.settings, {
      clock,
      lease: new Lease(this.path, task, this.project.settings.lease_minutes, clock),
      openedAt: form?.openedAt ?? task.now,
      said: form?.said ?? task.draft,
      actions: this.actions(),
      onChange: () => this.changed(),
    });
    this.place.replaceChildren(this.sheet.element);
    this.sheet.begin();
  }

  showNothing() {
    this.sheet?.close();
    this.sheet = null;
    this.place.replaceChildren(
      nothingLeft(
        () => this.next(),
        () => this.undo(),
      ),
    );
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.sheet === null && this.next(), LOOKS_AGAIN);
  }

  actions() {
    return {
      submit: () => this.submit(),
      skip: () => this.say({ do: "skip" }, t("skipped")),
      flag: () => this.flag(),
      undo: () => this.undo(),
      draft: () => this.saveDraft(),
    };
  }

  press(event) {
    return this.sheet
      ? this.sheet.press(event)
      : pressNothing(
          event,
          () => this.undo(),
          () => this.next(),
        );
  }

  async submit() {
    const { sheet } = this;
    if (!sheet || sheet.isBusy) return;
    const answer = sheet.answer();
    if (answer === null) return notice(t(`incomplete_${this.project.kind}`), "warning", PASSING);
    const warning = sheet.warning();
    if (warning) return notice(warning, "warning", PASSING);
    await this.say({ do: "answer", answer }, t("submitted"));
  }

  async flag() {
    const { sheet } = this;
    if (!sheet || sheet.isBusy) return;
    const reason = await askWhatIsWrong();
    if (reason !== null && sheet === this.sheet) await this.say({ do: "flag", reason }, t("flagged"));
  }

  async saveDraft() {
    const { sheet } = this;
    if (!sheet || sheet.isBusy) return;
    this.remember();
    const sent = await this.send({ do: "draft", draft: sheet.draft() });
    if (sent && !this.isClosed) notice(t("draftSaved"));
  }

  /** Says the last word on the task at hand, and goes on. */
  async say(said, spoken) {
    const { sheet } = this;
    if (!sheet || sheet.isBusy) return;
    sheet.setBusy(true);
    this.remember();
    const isStored = await this.send(said);
    if (isStored === false) sheet.setBusy(false);
    else forms.forget(this.annotator, sheet.task);
    if (isStored === false || this.isClosed) return;
    this.sheet = null;
    sheet.close();
    if (isStored) {
      clearNotice();
      announce(spoken);
    }
    await this.next();
  }

  /** `true` if it is stored, `null` if it never will be, `false` if the task stays at hand. */
  async send(said) {
    const { task, clock, openedAt } = this.sheet;
    const body = { task: task.id, opened_at: openedAt, active_ms: clock.activeMs(), said };
    try {
      await this.outbox.send("/api/annotations", body);
      return true;
    } catch (error) {
      refused(error);
      // What is refused for another reason than what it says will never be stored.
      return STAYS.includes(error.code) || error.status === 401 ? false : null;
    }
  }

  /** Takes back what was said last. */
  async undo() {
    if (this.sheet?.isBusy || this.isUndoing) return;
    this.isUndoing = true;
    this.remember();
    const body = { project: this.project.name, idem_key: uuid() };
    const undone = await this.asking(() => request("POST", "/api/undo", body));
    this.isUndoing = false;
    if (!undone) return;
    forms.forget(this.annotator, undone.task);
    this.show(undone.task);
    notice(t("undone"));
  }

  /** Asks until there is an answer; says what is refused. Nothing comes for whom has left. */
  async asking(attempt) {
    try {
      const answer = await persistently(attempt);
      return this.isClosed ? null : answer;
    } catch (error) {
      if (!this.isClosed) refused(error);
      return null;
    }
  }

  changed() {
    clearPassing();
    this.remember();
  }

  /** Keeps what the form holds, in this browser. */
  remember() {
    if (!this.sheet || this.sheet.isUntouched) return;
    const { task, clock, openedAt } = this.sheet;
    forms.remember(this.annotator, task, { said: this.sheet.draft(), activeMs: clock.activeMs(), openedAt });
  }
}

function pressNothing(event, undo, again) {
  const todo = { u: undo, Backspace: undo, Enter: again }[event.key];
  if (todo && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    todo();
  }
}

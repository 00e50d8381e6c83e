// A model that answers, and is judged: which of two answers is better where it isn't sure, or how far an attack went.

import { cards } from "./cards.js";
import { Desk } from "./desk.js";
import { announce, button, h, uuid } from "./dom.js";
import { t } from "./i18n.js";
import { isWriting } from "./keyboard.js";
import { clearNotice, notice } from "./notices.js";
import { request } from "./session.js";
import { Signals } from "./signals.js";
import { ask } from "./stream.js";
import { block, setBlock } from "./text.js";

/** What is typed, how many answers come, and what is asked of them. */
const KINDS = {
  pair: { prompt: "livePrompt", nAnswers: 2, ask: "liveAsk" },
  red_team: { prompt: "liveAttack", nAnswers: 1, ask: "liveAskAttack" },
};

export class Live {
  constructor(project, live, session, outbox, place, onProgress) {
    Object.assign(this, { project, model: live.model, outbox, kind: KINDS[project.kind] });
    this.said = h("div", { class: "said" });
    this.answerPlace = h("div");
    // A judgement is given as at any desk; then the conversation goes on.
    this.desk = new Desk(project, session, outbox, this.answerPlace, onProgress);
    this.desk.next = () => this.thank();
    this.question = h("textarea", {
      id: "question",
      rows: "2",
      "data-testid": "question",
      oninput: clearNotice,
    });
    this.sendButton = button(t("liveSend"), "Enter", {
      class: "primary",
      "data-testid": "send",
      onclick: () => this.ask(),
    });
    place.replaceChildren(this.draw());
  }

  get keys() {
    return this.desk.keys;
  }

  close() {
    this.signals?.close();
    this.abort?.abort();
    this.desk.close();
  }

  async next() {
    this.question.focus();
  }

  press(event) {
    if (event.target === this.question) {
      if (event.key === "Escape") this.question.blur();
      const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
      if (!sends) return undefined;
      event.preventDefault();
      return this.ask();
    }
    if (this.desk.sheet || isWriting(event)) return this.desk.press(event);
    return undefined;
  }

  /** Sends what was typed, or the same once more. */
  async ask(prompt = this.question.value.trim()) {
    if (prompt === "" || this.isAsking) return;
    this.leaveAnswer();
    this.setAsking(true);
    this.question.value = "";
    this.said.replaceChildren(h("h2", {}, t("prompt")), block(prompt, { "data-testid": "asked" }));
    const texts = Array(this.kind.nAnswers).fill("");
    const written = cards(texts.map((text) => ({ text, finished: true })));
    this.answerPlace.replaceChildren(
      h("p", { class: "writing-now", role: "status" }, t("liveWriting", { model: this.model })),
      written.element,
    );
    const onToken = ({ item, text }) => {
      texts[item] += text;
      setBlock(written.all[item].querySelector(".text"), texts[item]);
    };
    this.abort = new AbortController();
    const body = { project: this.project.name, prompt, idem_key: uuid() };
    try {
      this.answered(prompt, texts, await ask(body, onToken, this.abort.signal));
    } catch (error) {
      this.failed(prompt, error);
    }
    this.setAsking(false);
  }

  answered(prompt, texts, { request: id, ask: isAsked, why, task, best }) {
    if (isAsked && task) {
      notice([t(this.kind.ask), whyAsked(why)].filter(Boolean).join(" "));
      this.said.replaceChildren();
      this.desk.show(task);
      return;
    }
    this.showBest(prompt, texts[best], id, best);
  }

  /** One answer, and what can be done with it. */
  showBest(prompt, text, id, best) {
    const signals = new Signals(this.project.name, id, best, this.outbox);
    this.signals = signals;
    const { element, all } = cards([{ text, finished: true }]);
    const thumb = (up) => () => {
      signals.send({ type: "thumb", up });
      announce(t("liveThanks"));
    };
    const copy = async () => {
      await navigator.clipboard?.writeText(text).catch(() => null);
      signals.send({ type: "copy" });
      announce(t("liveCopied"));
    };
    const again = () => {
      signals.send({ type: "regenerate" });
      this.ask(prompt);
    };
    const act = (label, testid, onclick) =>
      button(label, null, { class: "quiet", "data-testid": testid, onclick });
    const row = h(
      "div",
      { class: "row signals" },
      act(t("thumbUp"), "live-up", thumb(true)),
      act(t("thumbDown"), "live-down", thumb(false)),
      act(t("liveCopy"), "live-copy", copy),
      act(t("liveRegenerate"), "live-again", again),
      act(t("liveEdit"), "live-edit", () => this.edit(all[0], text, signals)),
    );
    this.answerPlace.replaceChildren(element, row);
    this.question.focus();
  }

  edit(card, text, signals) {
    const area = h("textarea", { rows: "8", "aria-label": t("yourText"), "data-testid": "live-edited" });
    area.value = text;
    const keep = () => {
      if (area.value !== text) signals.send({ type: "edit", text: area.value });
      card.replaceChildren(block(area.value));
      announce(t("liveThanks"));
    };
    card.replaceChildren(
      area,
      button(t("liveEditDone"), null, { class: "primary", "data-testid": "live-keep", onclick: keep }),
    );
    area.focus();
  }

  failed(prompt, error) {
    if (error.name === "AbortError") return;
    this.answerPlace.replaceChildren();
    this.question.value = prompt;
    notice(t("liveFailed", { message: error.message }), "error");
  }

  /** After a judgement. */
  async thank() {
    if (this.desk.isClosed) return;
    notice(t("liveThanks"));
    this.answerPlace.replaceChildren();
    this.question.focus();
    const path = `/api/progress?project=${encodeURIComponent(this.project.name)}`;
    const counted = await request("GET", path).catch(() => null);
    if (counted && !this.desk.isClosed) this.desk.onProgress(counted);
  }

  leaveAnswer() {
    clearNotice();
    this.signals?.close();
    this.signals = null;
    // A judgement that isn't given now can be given at the project's desk.
    this.desk.remember();
    this.desk.sheet?.close();
    this.desk.sheet = null;
  }

  setAsking(isAsking) {
    this.isAsking = isAsking;
    this.sendButton.disabled = isAsking;
  }

  draw() {
    const label = h("label", { for: "question" }, t(this.kind.prompt));
    const form = h("div", { class: "question" }, label, this.question, this.sendButton);
    return h("div", { class: "conversation" }, form, this.said, this.answerPlace);
  }
}

/** That judges disagree, if that is why somebody is asked. */
function whyAsked({ disagreement, thresholds }) {
  const isIt = thresholds.disagreement !== null && disagreement >= thresholds.disagreement;
  return isIt ? t("liveWhy", { disagreement: disagreement.toFixed(2) }) : null;
}

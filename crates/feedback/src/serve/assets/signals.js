// What somebody does with an answer, which says something of it without their being asked.

import { Clock } from "./clock.js";

export class Signals {
  /** Of the answer at a place of a request. */
  constructor(project, request, item, outbox) {
    Object.assign(this, { project, request, item, outbox });
    this.begin = performance.now();
    this.clock = new Clock();
    this.leave = () => this.close();
    addEventListener("pagehide", this.leave);
  }

  /** An event such as `{ type: "copy" }`. It is sent like an answer: until the server has it. */
  send(event) {
    const known = { v: 1, request_id: this.request, item: this.item };
    const body = {
      project: this.project,
      event: { ...known, ...event, t_ms: Math.round(performance.now() - this.begin) },
    };
    this.outbox.send("/api/events", body).catch(() => null);
  }

  /** The answer isn't looked at any more. */
  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    removeEventListener("pagehide", this.leave);
    this.send({ type: "close", visible_ms: this.clock.activeMs() });
    this.clock.stop();
  }
}

// For how long a task is kept for somebody.

import { t } from "./i18n.js";
import { notice } from "./notices.js";
import { request } from "./session.js";

/** Looks at the time so often, in milliseconds. */
const TICK = 1000;

/** Keeps a task for whoever is at it, and says so when it can't be kept any more. */
export class Lease {
  /** `path` asks for the task again, which keeps it for another `minutes`. */
  constructor(path, task, minutes, clock) {
    Object.assign(this, { path, task, clock, renewBefore: (minutes * 60_000) / 3 });
    this.set(task);
    this.timer = setInterval(() => this.tick(), TICK);
  }

  end() {
    clearInterval(this.timer);
  }

  /** The server's clock may be another one than ours. */
  set({ expires_at, now }) {
    this.expiresAt = Date.now() + expires_at - now;
  }

  async tick() {
    const left = this.expiresAt - Date.now();
    if (left <= 0) {
      this.end();
      notice(t("expired"), "warning");
    } else if (left < this.renewBefore && this.clock.isActive() && !this.isRenewing) {
      this.isRenewing = true;
      const { task } = await request("GET", this.path).catch(() => ({}));
      if (task?.id === this.task.id) this.set(task);
      this.isRenewing = false;
    }
  }
}

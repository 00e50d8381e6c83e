// What was said and isn't acknowledged yet. It outlives the page: each thing is kept under a key of its own until the
// server has it, and is sent again with the same `idem_key`, which stores it once however often it arrives.

import { kept, uuid } from "./dom.js";
import { persistently, Refused, request } from "./session.js";

export class Outbox {
  /** What `annotator` said, those things included that an earlier page left. `onChange` gets how many are unsent. */
  constructor(annotator, onChange, onRefused) {
    this.prefix = `unsent.${JSON.stringify(annotator)}.`;
    this.nSaid = 0;
    Object.assign(this, { onChange, onRefused });
    this.waiting = new Map();
    /** Where the browser keeps nothing. */
    this.unkept = new Map();
    this.sending = null;
  }

  /** Sends nothing more: somebody else works here now. What is unsent is kept. */
  stop() {
    this.isStopped = true;
  }

  get count() {
    return this.names().length;
  }

  /** Sends something; gives the answer, or throws [`Refused`] if it will never be taken. */
  send(path, body) {
    const sent = { idem_key: uuid(), ...body };
    this.nSaid += 1;
    const when = [Date.now(), this.nSaid].map((it) => String(it).padStart(15, "0")).join(".");
    const name = `${this.prefix}${when}.${sent.idem_key}`;
    const text = JSON.stringify({ path, body: sent });
    if (!kept.set(name, text)) this.unkept.set(name, text);
    const outcome = new Promise((resolve, reject) => this.waiting.set(name, { resolve, reject }));
    this.onChange(this.count);
    this.flush();
    return outcome;
  }

  /** Sends all there is, one after another in the order it was said. */
  flush() {
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
      this.onChange(this.count);
    });
    return this.sending;
  }

  async sendAll() {
    for (let names = this.names(); names.length > 0; names = this.names()) {
      const [name] = names;
      const text = this.unkept.get(name) ?? kept.get(name);
      try {
        // Another page may have sent it meanwhile.
        const { path, body } = JSON.parse(text ?? "{}");
        const answer = path ? await persistently(() => this.post(path, body)) : null;
        this.settle(name, (it) => it.resolve(answer));
      } catch (error) {
        // Whoever isn't known any more may log in again.
        if (error.status === 401) return this.leave(error);
        const isAwaited = this.waiting.has(name);
        this.settle(name, (it) => it.reject(error));
        if (!isAwaited) this.onRefused(error);
      }
    }
  }

  async post(path, body) {
    if (this.isStopped) throw new Refused(401, "unauthorized", "somebody else works here");
    return request("POST", path, body);
  }

  names() {
    return [...new Set([...kept.names(this.prefix), ...this.unkept.keys()])].sort();
  }

  settle(name, how) {
    kept.set(name, null);
    this.unkept.delete(name);
    const waiter = this.waiting.get(name);
    this.waiting.delete(name);
    if (waiter) how(waiter);
    this.onChange(this.count);
  }

  leave(error) {
    for (const waiter of this.waiting.values()) waiter.reject(error);
    this.waiting.clear();
  }
}

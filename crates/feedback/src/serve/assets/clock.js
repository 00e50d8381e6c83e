// For how long somebody was at a task: while the page is in sight, and for at most a minute after each sign of life.

/** A sign of life lasts so long, in milliseconds. */
const LASTS = 60_000;
const SIGNS = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "scroll"];

/** Counts from when it is made. `now` gives milliseconds. */
export class Clock {
  constructor(already = 0, now = () => performance.now()) {
    this.now = now;
    this.counted = already;
    this.lastSign = isInSight() ? now() : null;
    this.listener = (event) => this.notice(event.type);
    for (const sign of SIGNS) {
      document.addEventListener(sign, this.listener, { passive: true, capture: true });
    }
    document.addEventListener("visibilitychange", this.listener);
  }

  /** Milliseconds until now. */
  activeMs() {
    return Math.round(this.counted + this.sinceSign());
  }

  /** Whether somebody is at it now. */
  isActive() {
    return this.lastSign !== null && this.now() - this.lastSign < LASTS;
  }

  /** Stops listening. */
  stop() {
    for (const sign of SIGNS) {
      document.removeEventListener(sign, this.listener, { capture: true });
    }
    document.removeEventListener("visibilitychange", this.listener);
  }

  notice(type) {
    if (type !== "visibilitychange" && this.lastSign === null) return;
    this.counted += this.sinceSign();
    this.lastSign = isInSight() ? this.now() : null;
  }

  sinceSign() {
    return this.lastSign === null ? 0 : Math.min(this.now() - this.lastSign, LASTS);
  }
}

function isInSight() {
  return document.visibilityState === "visible";
}

// Who works here, and how the page talks to its server.

/** An answer that says no, or none at all (`status` 0). */
export class Refused extends Error {
  constructor(status, code, message, waitSeconds = null) {
    super(message);
    Object.assign(this, { status, code, waitSeconds });
  }

  /** Whether trying again is no use. */
  get isLasting() {
    return this.status >= 400 && this.status < 500 && !["too_many", "bad_csrf"].includes(this.code);
  }
}

/** A request takes at most so long, in milliseconds. */
const PATIENCE = 30_000;
let csrf = "";
let annotator = null;

/** Asks the server once. Gives JSON, or throws [`Refused`]. */
export async function request(method, path, body) {
  const response = await send(method, path, body).catch(() => {
    throw new Refused(0, "offline", "no answer");
  });
  if (response.status === 204) return null;
  const json = await response.json().catch(() => ({}));
  if (response.ok) return json;
  const wait = Number(response.headers.get("retry-after")) || null;
  if (response.status === 401 && path !== "/api/session") tellLoggedOut();
  const { code = "server", message = response.statusText } = json.error ?? {};
  throw new Refused(response.status, code, message, wait);
}

/** As `fetch`, with all that the server wants to see. */
export function send(method, path, body, signal = AbortSignal.timeout(PATIENCE)) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-rein-csrf"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  return fetch(path, { method, headers, body: text, signal, credentials: "same-origin" });
}

/** Who is logged in, or `null`. */
export async function whoIsHere() {
  return remember(request("GET", "/api/session"));
}

/** Logs in by a token; `null` if nobody has it. */
export async function logIn(token) {
  return remember(request("POST", "/api/session", { token }));
}

export async function logOut() {
  await request("DELETE", "/api/session");
  csrf = "";
}

async function remember(asked) {
  try {
    const session = await asked;
    ({ csrf, annotator } = session);
    return session;
  } catch (error) {
    if (error.status === 401 || error.status === 400) return null;
    throw error;
  }
}

let tell = () => {};
let tellLoggedOut = () => {};

/** Has it told that the server doesn't know any more who works here. */
export function onLoggedOut(listener) {
  tellLoggedOut = listener;
}

/** Has what is in the way told: an error while requests fail, `null` once one gets through. */
export function onTrouble(listener) {
  tell = listener;
}

/** Asks until there is an answer, more and more seldom. Throws what is lasting. */
export async function persistently(attempt) {
  for (let nFailed = 0; ; nFailed += 1) {
    try {
      const result = await attempt();
      tell(null);
      return result;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell(error.isLasting ? null : error);
      if (error.isLasting) throw error;
      if (error.code === "bad_csrf") await renew();
      await pause(error.waitSeconds ?? Math.min(2 ** nFailed / 2, 15));
    }
  }
}

/** Asks for the page's proof again. Where another page logged somebody else in, nothing is said in their name. */
async function renew() {
  const before = annotator;
  const session = await whoIsHere().catch(() => ({ annotator: before }));
  if (session?.annotator === before) return;
  [csrf, annotator] = ["", null];
  tellLoggedOut();
  throw new Refused(401, "unauthorized", "somebody else works here");
}

/** Waits, but no longer than until the network is back. */
function pause(seconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    addEventListener("online", done);
  });
}

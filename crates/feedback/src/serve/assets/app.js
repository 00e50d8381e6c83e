// The page: who works here, and on which project.

import { Desk } from "./desk.js";
import { isDialogOpen, showHelp } from "./dialogs.js";
import { h } from "./dom.js";
import { applyLanguage } from "./i18n.js";
import { keyOf, isWriting } from "./keyboard.js";
import { Live } from "./live.js";
import { clearNotice, drawNotices, refused, setTrouble, setUnsent } from "./notices.js";
import { Outbox } from "./outbox.js";
import { guidelines, logInView, projectList } from "./places.js";
import { logIn, logOut, onLoggedOut, onTrouble, persistently, request, whoIsHere } from "./session.js";
import { drawTop } from "./top.js";

const main = document.getElementById("main");
let session = null;
let outbox = null;
/** What is worked at: a [`Desk`], a [`Live`] conversation, or nothing. */
let work = null;
/** How often one went somewhere. */
let nGone = 0;

async function start() {
  applyLanguage();
  onTrouble(setTrouble);
  onLoggedOut(loggedOut);
  document.addEventListener("keydown", press);
  addEventListener("hashchange", () => go().catch(refused));
  session = await tokenFromAddress();
  await enter();
}

/** Logs in by the link that was opened, or by what the browser remembers. */
async function tokenFromAddress() {
  const token = /^#token=([0-9a-f]{64})$/i.exec(location.hash)?.[1];
  if (!token) return persistently(whoIsHere);
  // The token stays neither in the address nor in the history.
  history.replaceState(null, "", location.pathname);
  return persistently(() => logIn(token));
}

async function enter() {
  if (session) {
    clearNotice();
    outbox?.stop();
    outbox = new Outbox(session.annotator, setUnsent, refused);
    outbox.flush();
  }
  await go();
}

/** Goes to what the address names. */
async function go() {
  // A link that is opened while the page is there.
  if (location.hash.startsWith("#token=")) {
    session = (await tokenFromAddress()) ?? session;
    return enter();
  }
  nGone += 1;
  const turn = nGone;
  work?.close();
  work = null;
  top({});
  if (!session) return main.replaceChildren(logInView(tryToken));
  const known = await persistently(() => request("GET", "/api/projects"));
  // Whoever went on meanwhile doesn't want to come here any more.
  if (turn === nGone) await open(known);
}

/** What was said is kept until somebody logs in again. */
function loggedOut() {
  if (!session) return;
  session = null;
  go().catch(refused);
}

async function open({ projects, live }) {
  const [, where, name] = /^#\/(project|live)\/(.*)$/.exec(location.hash) ?? [];
  const project = name === undefined ? undefined : projects.find((it) => it.name === decoded(name));
  if (!project) return main.replaceChildren(projectList(projects, live));
  const place = h("div");
  main.replaceChildren(...[guidelines(project), place].filter(Boolean));
  const onProgress = (it) => top({ project, ...it });
  onProgress(project);
  if (where === "live" && live?.project === project.name)
    work = new Live(project, live, session, outbox, place, onProgress);
  else work = new Desk(project, session, outbox, place, onProgress);
  await work.next();
}

function decoded(name) {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

async function tryToken(token) {
  const found = await persistently(() => logIn(token));
  if (found === null) return false;
  session = found;
  await enter();
  return true;
}

function top(state) {
  drawTop({ ...state, session, help, relabel, leave });
}

function help() {
  showHelp(work?.keys ?? []);
}

/** Says everything in the other language. */
function relabel() {
  drawNotices();
  return go();
}

async function leave() {
  await persistently(logOut);
  session = null;
  location.hash = "";
  await go();
}

function press(event) {
  if (isDialogOpen() || event.defaultPrevented) return;
  if (keyOf(event) === "?" && !isWriting(event)) {
    event.preventDefault();
    return help();
  }
  work?.press(event);
}

start().catch(refused);

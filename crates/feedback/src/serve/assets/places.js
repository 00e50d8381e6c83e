// Where one is when no task is shown: at the door, or before the projects.

import { h, kept } from "./dom.js";
import { number, t } from "./i18n.js";
import { block } from "./text.js";

/** Asks for a token. `tryToken` tells whether somebody has it. */
export function logInView(tryToken) {
  const token = h("input", {
    type: "password",
    id: "token",
    autocomplete: "off",
    required: true,
    "data-testid": "token",
  });
  const wrong = h("p", { class: "wrong", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    // A whole link will do, too.
    const isKnown = await tryToken(token.value.trim().replace(/^.*#token=/, ""));
    if (!isKnown) wrong.textContent = t("loginBad");
  };
  return h(
    "form",
    { class: "login", onsubmit: submit, "data-testid": "login" },
    h("h2", {}, t("loginTitle")),
    h("label", { for: "token" }, t("loginText")),
    token,
    wrong,
    h("button", { type: "submit", class: "primary" }, t("loginGo")),
  );
}

/** All projects; digits open the first nine. */
export function projectList(projects, live) {
  if (projects.length === 0) return h("p", { class: "nothing" }, t("noProjects"));
  const list = h(
    "ul",
    { class: "projects" },
    projects.map((project, place) => entry(project, place, live)),
  );
  const view = h("nav", { class: "list", "aria-label": t("projects") }, h("h2", {}, t("projects")), list);
  view.addEventListener("keydown", (event) =>
    list.querySelectorAll("a.project")[Number(event.key) - 1]?.click(),
  );
  queueMicrotask(() => list.querySelector("a")?.focus());
  return view;
}

function entry(project, place, live) {
  const { name, kind, progress } = project;
  const where = encodeURIComponent(name);
  const talk =
    live?.project === name
      ? h(
          "a",
          { class: "live", href: `#/live/${where}`, "data-testid": `live-${name}` },
          t(kind === "red_team" ? "liveOpenAttack" : "liveOpen", { model: live.model }),
        )
      : null;
  const counts = t("nTasks", { done: number(progress.n_done), all: number(progress.n_tasks) });
  const link = h(
    "a",
    { class: "project", href: `#/project/${where}`, "data-testid": `project-${name}` },
    place < 9 ? h("kbd", { "aria-hidden": "true" }, place + 1) : null,
    h("strong", {}, name),
    h("span", {}, t(`kind_${kind}`)),
    h("span", { class: "counts" }, counts),
  );
  return h("li", {}, link, talk);
}

/** What annotators shall know; open when it is new to them. */
export function guidelines({ name, settings }) {
  if (settings.guidelines.trim() === "") return null;
  const seen = `guidelines.${name}`;
  const isNew = kept.get(seen) !== settings.guidelines.slice(0, 2000);
  kept.set(seen, settings.guidelines.slice(0, 2000));
  const text = block(settings.guidelines, { "data-testid": "guidelines-text" });
  return h(
    "details",
    { class: "guidelines", open: isNew, "data-testid": "guidelines" },
    h("summary", {}, t("guidelines")),
    text,
  );
}

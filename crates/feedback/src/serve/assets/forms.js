// What a form holds, kept in this browser while it is filled in, so that a closed page loses nothing.

import { kept } from "./dom.js";

/** Forms that are remembered; the oldest go first. */
const MOST = 20;

/** What a form of this task held before, as `{ said, activeMs, openedAt }`, or `null`. */
export function recall(annotator, task) {
  try {
    const form = JSON.parse(kept.get(name(annotator, task)));
    return form?.of === fingerprint(task) ? form : null;
  } catch {
    return null;
  }
}

export function remember(annotator, task, form) {
  kept.set(name(annotator, task), JSON.stringify({ ...form, of: fingerprint(task), at: Date.now() }));
}

export function forget(annotator, task) {
  kept.set(name(annotator, task), null);
  const forms = kept.names("form.");
  const at = (form) => Number(/"at":(\d+)\}$/.exec(kept.get(form))?.[1] ?? 0);
  forms.sort((a, b) => at(a) - at(b));
  for (const form of forms.slice(0, -MOST)) kept.set(form, null);
}

function name(annotator, task) {
  return `form.${JSON.stringify(annotator)}.${task.id}`;
}

/** Tells tasks apart that have the same number in different stores (FNV-1a). */
function fingerprint(task) {
  let hash = 0x811c9dc5;
  const prompt = typeof task.prompt === "string" ? task.prompt : JSON.stringify(task.prompt);
  for (const text of [prompt, ...task.items.map((it) => it.text)]) {
    for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    hash = Math.imul(hash ^ 0xffff, 0x01000193);
  }
  return hash >>> 0;
}

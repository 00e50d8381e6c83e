// Elements. Nothing here, or anywhere else on this page, makes elements out of text.

/**
 * An element: `h("button", { class: "plain", onclick: close }, "Close")`. Functions listen to events, `true` stands for
 * an empty attribute, `false` and `null` for none; children are nodes and texts.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** A button that shows its key. */
export function button(label, key, attributes) {
  const kbd = key ? h("kbd", { "aria-hidden": "true" }, key) : null;
  return h(
    "button",
    { type: "button", "aria-keyshortcuts": key?.replace("Ctrl ", "Control+") || null, ...attributes },
    label,
    kbd,
  );
}

/** Says something to those who listen to the page rather than see it. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

/** The name of an item on the page: A, B, C and so on. */
export function letter(place) {
  return String.fromCharCode(65 + place);
}

/** A name that nothing else has. `crypto.randomUUID` would do, but only where the page came over TLS. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Settings that outlive the page, where the browser keeps any. */
export const kept = {
  get(name) {
    try {
      return localStorage.getItem(`rein.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`rein.${name}`);
      else localStorage.setItem(`rein.${name}`, value);
      return true;
    } catch {
      return false;
    }
  },
  /** The names that begin so, in order. */
  names(prefix) {
    try {
      const all = Object.keys(localStorage).filter((key) => key.startsWith(`rein.${prefix}`));
      return all.map((key) => key.slice("rein.".length)).sort();
    } catch {
      return [];
    }
  },
};

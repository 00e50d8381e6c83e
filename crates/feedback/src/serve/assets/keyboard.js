// What a key press means, whatever the layout of the keyboard.

/** A letter, digit or name of a key, in lower case: what stands on it, or where that isn't Latin, what lies there. */
export function keyOf(event) {
  if (event.key === "?") return "?";
  if (shiftedDigit(event)) return "Shift";
  if (/^[a-z0-9?+-]$/i.test(event.key)) return event.key.toLowerCase();
  const place = /^(?:Key|Digit|Numpad)([A-Z0-9])$/.exec(event.code);
  return place ? place[1].toLowerCase() : event.key;
}

/** The digit that is pressed with Shift, if one is. */
export function shiftedDigit(event) {
  const place = /^Digit([1-9])$/.exec(event.code);
  return event.shiftKey && place ? Number(place[1]) : null;
}

/** Whether keys are text here. */
export function isWriting(event) {
  const { target } = event;
  if (event.isComposing || target.isContentEditable) return true;
  if (target.tagName === "TEXTAREA") return true;
  return target.tagName === "INPUT" && !["checkbox", "radio", "range"].includes(target.type);
}

/** Whether the browser itself does something with Enter or the space bar here. */
export function isControl(target) {
  return target.closest("button, a, summary, select, input") !== null;
}

// Dragging badges onto places, by mouse, pen or finger.

/** Movements shorter than this are clicks, in pixels. */
const STILL = 5;

/** Badges (`data-item`) within some elements can be dropped on whatever has `data-rank`. */
export function draggable(elements, onDrop) {
  for (const element of elements) {
    element.addEventListener("pointerdown", (event) => {
      const badge = event.target.closest(".badge[data-item]");
      if (badge && event.button === 0) follow(badge, event, onDrop);
    });
  }
}

function follow(badge, begin, onDrop) {
  const item = Number(badge.dataset.item);
  let ghost = null;
  const move = (event) => {
    const [dx, dy] = [event.clientX - begin.clientX, event.clientY - begin.clientY];
    if (!ghost && Math.hypot(dx, dy) < STILL) return;
    ghost ??= ghostOf(badge);
    ghost.style.translate = `${event.clientX}px ${event.clientY}px`;
    highlight(placeAt(event));
  };
  const end = (event) => {
    document.removeEventListener("pointermove", move);
    document.removeEventListener("pointerup", end);
    document.removeEventListener("pointercancel", end);
    highlight(null);
    if (!ghost) return;
    ghost.remove();
    const place = event.type === "pointerup" ? placeAt(event) : null;
    if (place) onDrop(item, Number(place.dataset.rank));
  };
  document.addEventListener("pointermove", move);
  document.addEventListener("pointerup", end);
  document.addEventListener("pointercancel", end);
}

function placeAt(event) {
  return document.elementFromPoint(event.clientX, event.clientY)?.closest(".slot, .tray") ?? null;
}

function highlight(place) {
  for (const it of document.querySelectorAll(".over")) it.classList.remove("over");
  place?.classList.add("over");
}

function ghostOf(badge) {
  const ghost = badge.cloneNode(true);
  ghost.classList.add("ghost");
  document.body.append(ghost);
  return ghost;
}

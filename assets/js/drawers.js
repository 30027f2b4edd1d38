// The columns beside the chat. On a wide screen they stand there; on a narrow one they lie over the chat
// and are closed at first. CSS draws them; this sets data-rail and data-panels on the root.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.drawers) return;

  const root = document.documentElement;
  const WIDE = window.matchMedia("(min-width: 1000px)");
  const TOGGLES = { rail: "rail-toggle", panels: "panels-toggle" };
  const SIDES = Object.keys(TOGGLES);

  const isOpen = (side) => (root.dataset[side] ? root.dataset[side] === "open" : WIDE.matches);

  function show() {
    for (const side of SIDES) {
      document.getElementById(TOGGLES[side])?.setAttribute("aria-expanded", String(isOpen(side)));
    }
  }

  function set(side, open) {
    root.dataset[side] = open ? "open" : "closed";
    show();
  }

  function toggle(side) {
    const open = !isOpen(side);
    if (open && !WIDE.matches) SIDES.forEach((other) => set(other, false));
    set(side, open);
  }

  function open(side) {
    if (!isOpen(side)) toggle(side);
  }

  // Only one that lies over the chat is closed by Escape, or by a click beside it.
  function close() {
    if (WIDE.matches) return false;
    const open = SIDES.filter(isOpen);
    open.forEach((side) => set(side, false));
    return open.length > 0;
  }

  WIDE.addEventListener("change", () => {
    SIDES.forEach((side) => delete root.dataset[side]);
    show();
  });

  // What lies below one that is open is not pressed by the click that closes it.
  document.addEventListener("click", (event) => {
    if (WIDE.matches || !SIDES.some(isOpen)) return;
    if (event.target.closest?.("#rail, #panels, #bar, dialog, [popover]")) return;
    event.preventDefault();
    event.stopPropagation();
    close();
  }, true);

  document.addEventListener("click", (event) => {
    const side = SIDES.find((one) => event.target.closest?.(`#${TOGGLES[one]}`));
    if (side) toggle(side);
    // By the path, for what was clicked may be gone from the page by now.
    else if (!event.composedPath().some((place) => place.id in TOGGLES)) close();
  });

  ui.drawers = { close, open, show, toggle };
})();

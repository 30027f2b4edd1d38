// How much is told: simple, more, or everything. More opens the further settings and tells of every answer by
// whom it is and how fast; everything tells also how it was asked for, and opens all caveats.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.detail) return;

  const root = document.documentElement;
  const LEVELS = ["simple", "more", "everything"];
  let level = LEVELS.includes(ui.kept.detail()) ? ui.kept.detail() : "simple";
  let clickedAt = -1000; // in ms
  root.dataset.detail = level;

  // Once for each, and for those that are drawn anew: what a person closes stays closed.
  function open() {
    if (level === "simple") return;
    const more = document.querySelector("#more-settings > button");
    // While Gradio starts, a click may go nowhere: it is done when it is seen to be.
    if (more?.classList.contains("open")) more.dataset.opened = "yes";
    else if (more && !more.dataset.opened && performance.now() - clickedAt > 600) {
      clickedAt = performance.now();
      more.click();
      setTimeout(open, 700);
    }
    if (level !== "everything") return;
    for (const details of document.querySelectorAll("#panels details:not([data-opened])")) {
      details.dataset.opened = "yes";
      details.open = true;
    }
  }

  function mount({ element }) {
    for (const radio of element.querySelectorAll("input")) {
      radio.checked = radio.value === level;
      radio.addEventListener("change", () => {
        level = radio.value;
        ui.kept.keepDetail(level);
        root.dataset.detail = level;
        for (const one of document.querySelectorAll("#panels [data-opened]")) delete one.dataset.opened;
        open();
      });
    }
    open();
  }

  // What is told of an answer beside its bar; CSS shows as much as the level says.
  function facts(message) {
    const line = document.createElement("p");
    line.className = "facts";
    line.append(ui.element("span", message.facts), ui.element("span", message.settings));
    return line;
  }

  ui.detail = { mount, open, facts };
})();

// Light, dark, or as the system is. Gradio follows the system by itself; who has chosen otherwise keeps that.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.look) return;

  const DARK = window.matchMedia("(prefers-color-scheme: dark)");
  let choice = ui.kept.look();

  function apply() {
    if (!document.body) return;
    const isDark = choice === "dark" || (choice === "system" && DARK.matches);
    if (document.body.classList.contains("dark") !== isDark) document.body.classList.toggle("dark", isDark);
  }

  function mount({ element }) {
    for (const radio of element.querySelectorAll("input")) {
      radio.checked = radio.value === choice;
      radio.addEventListener("change", () => {
        choice = radio.value;
        ui.kept.keepLook(choice);
        apply();
      });
    }
  }

  // Gradio sets its class when it starts and when the system changes.
  function watch() {
    new MutationObserver(apply).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    apply();
  }

  if (document.body) watch();
  else document.addEventListener("DOMContentLoaded", watch);
  DARK.addEventListener("change", apply);

  ui.look = { mount };
})();

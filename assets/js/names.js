// Accessible names, where Gradio gives a control another one or none. It draws controls anew now and then,
// so they are looked after as long as the page is open.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.nameControls) return;

  const SLIDERS = ["temperature", "top_p", "max_new_tokens", "top_k", "min_p", "repetition_penalty"];
  const NAMES = {
    "#message textarea": ui.text("controls.message"),
    "#system-prompt textarea": ui.text("controls.system_prompt"),
    "#set-seed :is(input, textarea)": ui.text("settings.seed"),
    "#set-stop-strings textarea": ui.text("settings.stop"),
    "#set-begins-with textarea": ui.text("settings.begins_with"),
  };
  for (const setting of SLIDERS) {
    const id = `#set-${setting.replaceAll("_", "-")}`;
    const name = ui.text(`settings.${setting}`);
    NAMES[`${id} input[type=range]`] = name;
    NAMES[`${id} input[type=number]`] = ui.text("settings.as_number", { name });
  }
  const DESCRIPTIONS = {
    "#set-seed :is(input, textarea)": "note-seed",
    "#set-assisted-generation input": "note-assisted",
    "#system-prompt textarea": "note-system-prompt",
  };

  function set(selector, attribute, value) {
    const found = document.querySelector(selector);
    if (found && found.getAttribute(attribute) !== value) found.setAttribute(attribute, value);
  }

  // Code that is wider than the chat is scrolled with the keyboard, too.
  let seen = new WeakMap(); // the length at which each was looked at: measuring them costs an update
  window.addEventListener("resize", () => { seen = new WeakMap(); });
  function focusScrollers() {
    for (const code of document.querySelectorAll("#chat pre:not([tabindex])")) {
      const { length } = code.textContent;
      if (seen.get(code) === length) continue;
      seen.set(code, length);
      if (code.scrollWidth > code.clientWidth) code.tabIndex = 0;
    }
  }

  function nameControls() {
    for (const [selector, name] of Object.entries(NAMES)) set(selector, "aria-label", name);
    for (const [selector, id] of Object.entries(DESCRIPTIONS)) set(selector, "aria-describedby", id);
    focusScrollers();
    ui.scroll.hook();
    ui.messages.draw();
    ui.prompts.draw();
    ui.detail.open();
  }

  // A stream of tokens makes many mutations: five times a second is often enough.
  let timer = 0;
  new MutationObserver(() => {
    timer ||= setTimeout(() => { timer = 0; nameControls(); }, 200);
  }).observe(document.documentElement, { subtree: true, childList: true });

  ui.nameControls = nameControls;
})();

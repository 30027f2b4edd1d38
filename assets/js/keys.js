// Keyboard shortcuts, and the dialog that tells them. Enter, Shift+Enter and Escape are page.js's business.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.keys) return;

  const byId = (id) => document.getElementById(id);
  const isMac = /^(Mac|iP)/.test(navigator.platform);
  const MOD = isMac ? "⌘" : ui.text("keys.ctrl");
  const SHIFT = ui.text("keys.shift");
  const ENTER = ui.text("keys.enter");
  const SHORTCUTS = [
    [[ENTER], ui.text("keys.send")],
    [[SHIFT, ENTER], ui.text("keys.line")],
    [[ui.text("keys.esc")], ui.text("keys.stop")],
    [[MOD, "K"], ui.text("rail.search")],
    [[MOD, SHIFT, "O"], ui.text("controls.new_chat")],
    [[MOD, "B"], ui.text("keys.rail")],
    [["/"], ui.text("keys.box")],
    [["?"], ui.text("keys.these")],
  ];

  const isTyping = (target) =>
    target.isContentEditable || target.matches?.("textarea, select, input:not([type=checkbox], [type=radio], [type=range])");

  function keysOf(keys) {
    const cell = document.createElement("dt");
    cell.append(...keys.map((key) => ui.element("kbd", key)));
    return cell;
  }

  function make() {
    const dialog = document.createElement("dialog");
    dialog.id = "keys";
    dialog.className = "dialog";
    const heading = ui.element("h2", ui.text("keys.name"));
    heading.id = "keys-heading";
    dialog.setAttribute("aria-labelledby", heading.id);
    const list = document.createElement("dl");
    for (const [keys, what] of SHORTCUTS) list.append(keysOf(keys), ui.element("dd", what));
    const close = ui.element("button", ui.text("keys.close"));
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    dialog.append(heading, list, close);
    // A click beside it meets the dialog itself, whose content fills it.
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    document.body.append(dialog);
    return dialog;
  }

  const showKeys = () => (byId("keys") ?? make()).showModal();

  function act(event) {
    if ((isMac ? event.metaKey : event.ctrlKey) && !event.altKey) {
      const key = event.key.toLowerCase();
      if (key === "k" && !event.shiftKey) return () => ui.rail.focusSearch();
      if (key === "o" && event.shiftKey) return () => byId("new-chat")?.click();
      if (key === "b" && !event.shiftKey) return () => ui.drawers.toggle("rail");
    } else if (!isTyping(event.target) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (event.key === "/") return () => document.querySelector("#message textarea")?.focus();
      if (event.key === "?") return showKeys;
    }
    return null;
  }

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || byId("keys")?.open) return;
    const done = act(event);
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
    done();
  }, true);

  ui.keys = { show: showKeys };
})();

// "Delete everything": it is asked once more, then the server forgets this visitor (web/privacy.py), and so does
// the browser. The page begins anew.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.privacy) return;

  const byId = (id) => document.getElementById(id);

  function button(text, act) {
    const made = ui.element("button", text);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  }

  function make() {
    const dialog = document.createElement("dialog");
    dialog.id = "forget";
    dialog.className = "dialog";
    const heading = ui.element("h2", ui.text("privacy.forget_heading"));
    const what = ui.element("p", ui.text("privacy.forget_text"));
    heading.id = "forget-heading";
    what.id = "forget-text";
    dialog.setAttribute("aria-labelledby", heading.id);
    dialog.setAttribute("aria-describedby", what.id);
    const keep = button(ui.text("privacy.keep"), () => dialog.close());
    keep.autofocus = true; // Enter does no harm
    const forget = button(ui.text("privacy.forget"), () => forgetAll(dialog, forget));
    forget.className = "danger";
    const buttons = document.createElement("div");
    buttons.append(keep, forget);
    dialog.append(heading, what, buttons);
    document.body.append(dialog);
    return dialog;
  }

  async function forgetAll(dialog, pressed) {
    pressed.disabled = true;
    const answer = await fetch("forget", { method: "POST" }).catch(() => null);
    pressed.disabled = false;
    dialog.close();
    if (!answer?.ok) {
      ui.showAlert(answer ? ui.text("privacy.not_forgotten") : ui.awayText("page.away_undone"));
      return;
    }
    ui.forgetKept();
    location.replace(location.pathname);
  }

  ui.privacy = {
    mount() {
      byId("forget-me").addEventListener("click", () => (byId("forget") ?? make()).showModal());
    },
  };
})();

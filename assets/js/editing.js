// Editing a message: its text comes into the message box, with a line above that says so. A question that was
// edited is sent as another version and answered; an answer is stored as another version.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.editing) return;

  const byId = (id) => document.getElementById(id);
  const box = () => document.querySelector("#message textarea");
  const SAYS = { user: ui.text("editing.question"), assistant: ui.text("editing.answer") };

  // {id, role, draft, text, isComing}: which message, what stood in the box before, what it says, no text yet
  let now = null;

  // The page has a message as it is shown, and its text comes from the server: until it is there, nothing can be
  // typed into the box that it would be put over, or that would be put behind it.
  async function begin(message, fetchText) {
    if (now?.isComing) return;
    const before = now;
    const mine = (now = { ...message, draft: before?.draft, isComing: true });
    show();
    const text = await fetchText();
    if (now !== mine) return; // it was given up meanwhile
    if (text === null) {
      now = before;
      show();
      return;
    }
    mine.draft ??= ui.draftInBox();
    mine.isComing = false;
    ui.setBox(text);
    mine.text = ui.draftInBox(); // a box has its own ends of lines
    show();
    box()?.focus();
    box()?.setSelectionRange(text.length, text.length);
  }

  // With what stood in the box before; and what was typed since, where the edit has been sent from it.
  function end(isSent = false) {
    if (!now) return;
    const { draft = ui.draftInBox(), isComing } = now;
    now = null;
    ui.setBox([draft, isSent && !isComing ? ui.draftInBox() : ""].filter(Boolean).join("\n\n"));
    show();
  }

  function show() {
    const line = byId("editing");
    if (!line) return;
    document.documentElement.toggleAttribute("data-editing", Boolean(now));
    if (box()) box().readOnly = Boolean(now?.isComing);
    line.hidden = !now;
    if (!now) {
      line.replaceChildren();
      return;
    }
    const cancel = ui.element("button", ui.text("editing.cancel"));
    cancel.type = "button";
    cancel.addEventListener("click", () => {
      end();
      box()?.focus();
    });
    line.replaceChildren(ui.element("span", SAYS[now.role]), cancel);
  }

  let isSaving = false;
  async function save(text) {
    if (isSaving) return; // Enter was pressed twice, or held
    isSaving = true;
    const mine = now;
    let answer;
    try {
      const given = { conversation: ui.page.conversation, message: now.id, text };
      answer = await ui.islands.status.server.edit_answer(given);
    } catch {
      answer = { error: ui.awayText("page.away_unsaved") };
    }
    answer ??= { error: ui.awayText("page.away_unsaved") }; // Gradio tells the console of it, and nobody else
    isSaving = false;
    if (answer.error) {
      ui.showAlert(answer.error);
      return;
    }
    if (now === mine) end(); // another one may be edited by now
    ui.showAlert("");
    ui.refresh();
  }

  ui.editing = {
    begin, end, save,
    isOn: () => now !== null,
    isUnchanged: () => now !== null && ui.draftInBox() === now.text,
    isComing: () => now?.isComing === true,
    ofAnswer: () => now?.role === "assistant",
    id: () => now?.id ?? "",
    draft: () => now?.draft ?? null,
  };
})();

// Conversations out as files and in again. The server makes and reads the texts (ui/list_server.py).
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.files) return;

  const byId = (id) => document.getElementById(id);
  const MOST_MB = 100; // as MAX_FILE_CHARS of service/files.py

  function download({ name, text, type }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  async function exportFile({ which, form }) {
    const id = which === "one" ? ui.page.conversation : "";
    const isCopy = form === "copy";
    const answer = await ui.rail.call("export_conversations", { id, form: isCopy ? "markdown" : form });
    if (!answer) return;
    if (!isCopy) download(answer);
    else if (await ui.copyText(answer.text)) ui.showAlert(ui.text("files.copied"), "done");
    else ui.showAlert(ui.text("files.not_copied"));
  }

  async function importFile(file) {
    if (file.size > MOST_MB * 1e6) {
      const size = Math.ceil(file.size / 1e6);
      ui.showAlert(ui.text("files.too_large", { size, most: MOST_MB }));
      return;
    }
    const button = byId("import");
    button.disabled = true;
    ui.setText(button, ui.text("files.importing"));
    let answer = null;
    try {
      answer = await ui.rail.call("import_conversations", { text: await file.text() });
    } catch {
      ui.showAlert(ui.text("files.unreadable"));
    }
    button.disabled = false;
    ui.setText(button, ui.text("files.import"));
    if (!answer) return;
    ui.pulse();
    ui.showAlert(answer.sentence, "done");
    if (answer.conversation) ui.choose(answer.conversation);
  }

  function mount() {
    const menu = byId("export-menu");
    menu.addEventListener("toggle", ({ newState }) => {
      for (const button of menu.querySelectorAll('[data-which="one"]')) button.disabled = !ui.page.conversation;
      if (newState === "open") menu.querySelector("button:enabled").focus();
    });
    menu.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      menu.hidePopover();
      exportFile(button.dataset);
    });
    const input = byId("import-file");
    byId("import").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const [file] = input.files;
      input.value = ""; // so that the same file can be chosen again
      if (file) importFile(file);
    });
    byId("show-keys").addEventListener("click", () => ui.keys.show());
  }

  ui.files = { mount };
})();

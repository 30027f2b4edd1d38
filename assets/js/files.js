// Conversations out as files and in again. The server makes the texts (ui/list_server.py) and reads them (web/imports.py).
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.files) return;

  const byId = (id) => document.getElementById(id);

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
    const most = ui.limits().import_bytes;
    if (file.size > most) {
      const size = Math.ceil(file.size / 1e6);
      ui.showAlert(ui.text("files.too_large", { size, most: Math.floor(most / 1e6) }));
      return;
    }
    const button = byId("import");
    button.disabled = true;
    ui.setText(button, ui.text("files.importing"));
    const answer = await posted(file);
    button.disabled = false;
    ui.setText(button, ui.text("files.import"));
    if (answer.error) {
      ui.showAlert(answer.error);
      return;
    }
    ui.pulse();
    const left = answer.left_out ? ` ${ui.text("files.left_out", { count: answer.left_out })}` : "";
    ui.showAlert(ui.text("files.imported", { count: answer.added }) + left, "done");
    ui.choose(answer.conversation);
  }

  // What the server made of a file, or {error: a sentence}.
  async function posted(file) {
    try {
      await file.slice(0, 1).arrayBuffer();
    } catch {
      return { error: ui.text("files.unreadable") }; // it was moved, or changed
    }
    try {
      const answer = await fetch(`${window.gradio_config?.root ?? ""}/import`, { method: "POST", body: file });
      const isJson = answer.headers.get("content-type")?.startsWith("application/json");
      return isJson ? await answer.json() : { error: ui.refusal(answer.status) };
    } catch {
      return { error: ui.awayText("page.away_undone") };
    }
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

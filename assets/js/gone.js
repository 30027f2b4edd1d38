// A conversation that is shown here and is gone from the server: it was deleted in another window, or its hour
// was up. It stays to be read, and so does the draft.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.gone) return;

  let told = ""; // the one of which it was said

  // Of every pulse: the id that it was asked about, where that is gone.
  function show(id) {
    const { conversation, expected, isOpening } = ui.page;
    // While another one is being opened, this one may have been deleted here.
    const isGone = id && id === conversation && (expected ?? id) === id && !isOpening;
    if (!isGone) {
      if (told && document.getElementById("alert")?.dataset.kind === "gone") ui.showAlert("");
      told = "";
    } else if (told !== id) {
      told = id;
      if (ui.page.isTemporary) ui.showAlert(ui.text("rail.gone_temporary"), "gone"); // it is in no list
      else ui.showAlert(ui.text("rail.gone"), "gone", { name: ui.text("rail.undo"), act: () => restore(id) });
    }
  }

  async function restore(id) {
    if (!(await ui.rail.call("restore_conversation", { id }))) return;
    ui.showAlert("");
    ui.pulse();
    ui.refresh();
  }

  ui.gone = { show };
})();

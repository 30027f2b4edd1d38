// What this browser keeps: the draft of each tab, and the generation settings. A browser may refuse to.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.kept) return;

  const DRAFT = "chat_ui.draft";
  const SETTINGS = "chat_ui.settings.1";

  function read(storage, key) {
    try { return window[storage].getItem(key); } catch { return null; }
  }

  function write(storage, key, value) {
    try { window[storage].setItem(key, value); } catch { /* private mode: nothing is kept */ }
  }

  // What was kept may be of another version: a value of the wrong kind is left out. undefined changes nothing.
  function settings() {
    let kept = [];
    try { kept = JSON.parse(read("localStorage", SETTINGS) ?? "[]"); } catch { /* damaged: none */ }
    if (!Array.isArray(kept)) return [];
    return kept.map((value) => (["number", "string"].includes(typeof value) ? value : undefined));
  }

  ui.kept = {
    draft: () => read("sessionStorage", DRAFT) ?? "",
    keepDraft: (text) => write("sessionStorage", DRAFT, text),
  };
  ui.keptSettings = settings;
  ui.keepSettings = (values) => {
    write("localStorage", SETTINGS, JSON.stringify(values));
    return [];
  };
})();

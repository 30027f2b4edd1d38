// What this browser keeps: the draft of each tab, the generation settings, the theme, and system prompts. A browser may
// refuse to.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.kept) return;

  const DRAFT = "chat_ui.draft";
  const SETTINGS = "chat_ui.settings.1";
  const LOOK = "chat_ui.look.1";
  const DETAIL = "chat_ui.detail.1";
  const PROMPTS = "chat_ui.prompts.1";

  function read(storage, key) {
    try { return window[storage].getItem(key); } catch { return null; }
  }

  function write(storage, key, value) {
    try { window[storage].setItem(key, value); } catch { return false; /* private mode: nothing is kept */ }
    return true;
  }

  function list(key) {
    let kept = [];
    try { kept = JSON.parse(read("localStorage", key) ?? "[]"); } catch { /* damaged: none */ }
    return Array.isArray(kept) ? kept : [];
  }

  const isPrompt = (one) => Array.isArray(one) && one.length === 2 && one.every((text) => typeof text === "string");

  // What was kept may be of another version: a value of the wrong kind is left out. undefined changes nothing.
  function settings() {
    return list(SETTINGS).map((value) => (["number", "string"].includes(typeof value) ? value : undefined));
  }

  ui.kept = {
    draft: () => read("sessionStorage", DRAFT) ?? "",
    keepDraft: (text) => write("sessionStorage", DRAFT, text),
    look: () => (["light", "dark"].includes(read("localStorage", LOOK)) ? read("localStorage", LOOK) : "system"),
    keepLook: (look) => write("localStorage", LOOK, look),
    detail: () => read("localStorage", DETAIL) ?? "",
    keepDetail: (level) => write("localStorage", DETAIL, level),
    prompts: () => list(PROMPTS).filter(isPrompt), // [name, text]
    keepPrompts: (prompts) => write("localStorage", PROMPTS, JSON.stringify(prompts)),
  };
  ui.forgetKept = () => {
    for (const storage of ["localStorage", "sessionStorage"]) {
      for (const key of [DRAFT, SETTINGS, LOOK, DETAIL, PROMPTS]) {
        try { window[storage].removeItem(key); } catch { /* nothing is kept there */ }
      }
    }
  };
  ui.keptSettings = settings;
  ui.keepSettings = (values) => {
    write("localStorage", SETTINGS, JSON.stringify(values));
    return [];
  };
})();

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

  const within = (value, low, high) => Math.min(high, Math.max(low, value));

  // What was kept may be of another version: a value of the wrong kind is left out, and a number is brought into
  // its control's range, of which there is one for each control that has one. undefined changes nothing.
  function settings(ranges) {
    return list(SETTINGS).map((value, at) => {
      if (!["number", "string"].includes(typeof value)) return undefined;
      return typeof value === "number" && ranges[at] ? within(value, ...ranges[at]) : value;
    });
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
  ui.keptSettings = settings;
  ui.keepSettings = (values) => {
    write("localStorage", SETTINGS, JSON.stringify(values));
    return [];
  };
})();

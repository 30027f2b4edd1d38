// The library of system prompts: some to begin with, from ui/panels/system_prompt.py, and the visitor's own,
// which this browser keeps.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.prompts) return;

  const MOST = 100;
  const NAME_CHARS = 40;

  let place = null;
  let given = []; // [name, text]
  let replaced = ""; // words of one's own that a saved prompt took the place of
  const box = () => document.querySelector("#system-prompt textarea");
  const part = (selector) => place.querySelector(selector);
  const own = () => ui.kept.prompts();
  const all = () => [...given, ...own()];

  function group(label, prompts, from) {
    const made = document.createElement("optgroup");
    made.label = label;
    prompts.forEach(([name], index) => made.append(new Option(name, String(from + index))));
    return made;
  }

  // Which one the box holds is told by its text: whoever edits it has another one.
  function draw() {
    if (!place || !box()) return;
    const text = box().value.trim();
    const index = all().findIndex(([, one]) => one === text);
    const select = part("select");
    const shown = JSON.stringify([own(), index]);
    if (select.dataset.shown !== shown) {
      select.dataset.shown = shown;
      const none = new Option(text ? ui.text("prompts.own") : ui.text("prompts.choose"), "");
      select.replaceChildren(none, group(ui.text("prompts.given_group"), given, 0));
      if (own().length) select.append(group(ui.text("prompts.own_group"), own(), given.length));
      select.value = index < 0 ? "" : String(index);
    }
    ui.setText(select.options[0], text ? ui.text("prompts.own") : ui.text("prompts.choose"));
    part(".undo").hidden = !replaced;
    part(".save").hidden = !text || index >= 0;
    part(".remove").hidden = index < given.length;
  }

  function choose() {
    const prompt = all()[Number(part("select").value)];
    if (!part("select").value || !prompt) return;
    replaced = unsaved() || replaced;
    put(prompt[1]);
  }

  const unsaved = () => (all().some(([, one]) => one === box().value.trim()) ? "" : box().value.trim() && box().value);

  // What was typed since is not lost by it, either: Undo brings that back in its turn.
  function undo() {
    const before = replaced;
    replaced = unsaved();
    put(before);
    box().focus(); // the button may be gone
  }

  // Another conversation's prompt is in the box now.
  function forget() {
    replaced = "";
    draw();
  }

  function put(text) {
    box().value = text;
    box().dispatchEvent(new Event("input", { bubbles: true }));
    draw();
  }

  function save() {
    const text = box().value.trim();
    const line = text.split(/\s+/).join(" ");
    const name = line.length <= NAME_CHARS ? line : `${line.slice(0, NAME_CHARS - 1)}…`;
    if (own().length >= MOST) {
      ui.showAlert(ui.text("prompts.full", { most: MOST }));
      return;
    }
    if (!ui.kept.keepPrompts([...own(), [name, text]])) {
      ui.showAlert(ui.text("prompts.not_kept"));
    }
    draw();
    part("select").focus(); // the button is gone
  }

  function remove() {
    const text = box().value.trim();
    ui.kept.keepPrompts(own().filter(([, one]) => one !== text));
    draw(); // the text stays in the box: saving it again undoes this
    part(".save").focus();
  }

  function mount({ element, props }) {
    place = element;
    given = props.value.map((key) => [ui.text(key), ui.text(`${key}_text`)]);
    part("select").addEventListener("change", choose);
    part(".undo").addEventListener("click", undo);
    part(".save").addEventListener("click", save);
    part(".remove").addEventListener("click", remove);
    draw();
  }

  document.addEventListener("input", (event) => { if (event.target === box()) draw(); });
  window.addEventListener("storage", draw); // another tab has saved one

  ui.prompts = { mount, draw, forget };
})();

// What a screen reader is told of a growing answer: whole sentences, as they are written. The chat itself is not
// read out (Gradio would read every token), so this is also what tells that an answer came.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.announcer) return;

  const EVERY_MS = 1000; // reading a long answer's text takes time, and speech is slower still
  const CODE = ui.text("page.code");
  const KEPT = 12; // sentences that stay for a reader that is behind

  let isOn = false;
  let said = 0; // characters of the answer
  let timer = 0;

  const sentences = (text) => {
    if (!window.Intl?.Segmenter) return text.match(/[^.!?\n]*[.!?\n]+|[^.!?\n]+$/g) ?? [];
    return [...new Intl.Segmenter(undefined, { granularity: "sentence" }).segment(text)].map((one) => one.segment);
  };

  // The newest answer, and the note on how it ended, which has a row of its own; not its thoughts.
  function blocks() {
    const rows = [...document.querySelectorAll("#chat .message-wrap > .message-row")];
    const from = rows.findLastIndex((row) => !row.matches(".bot-row") || row.querySelector(".thought-group"));
    return rows.slice(from + 1).flatMap((row) => [...(row.querySelector(".prose")?.children ?? [])]);
  }

  // Its text as it is read out: code is named and not spelt.
  function spoken() {
    return blocks().map((block) => {
      if (block.matches("pre, .code_wrap") || block.querySelector("pre")) return CODE;
      if (!block.querySelector(".katex-html")) return block.textContent;
      const copy = block.cloneNode(true);
      for (const drawn of copy.querySelectorAll(".katex-html, annotation")) drawn.remove();
      return copy.textContent;
    }).map((text) => `${text.trim()}\n`).join("");
  }

  function say(isWhole) {
    const text = spoken();
    const parts = sentences(text.slice(said));
    if (!isWhole) parts.pop(); // it may still grow
    said += parts.join("").length;
    const place = document.getElementById("spoken");
    for (const part of parts) {
      if (part.trim()) place?.append(ui.element("p", part.trim()));
    }
    while (place && place.childElementCount > KEPT) place.firstChild.remove();
  }

  function tick() {
    if (!isOn) return;
    if (ui.page.isBusy) say(false); // else the newest answer is still the one before
    timer = setTimeout(tick, EVERY_MS);
  }

  // Its last words, or all of a quick one, are about to be drawn: read when they no longer change.
  function finish(before, tries) {
    timer = setTimeout(() => {
      const now = spoken();
      if (tries > 0 && (!now.trim() || now !== before)) finish(now, tries - 1);
      else say(true);
    }, 150);
  }

  ui.announcer = {
    // Whether an answer of this page is asked for or being written.
    set(is) {
      if (is === isOn) return;
      isOn = is;
      clearTimeout(timer);
      if (is) {
        said = 0;
        document.getElementById("spoken")?.replaceChildren();
        timer = setTimeout(tick, EVERY_MS);
      } else {
        finish("", 20);
      }
    },
    // None came: it was refused, or the page shows another conversation.
    cancel() {
      isOn = false;
      clearTimeout(timer);
    },
  };
})();

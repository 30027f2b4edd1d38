// Takes the marks that chat_ui/ui/view.py puts into messages out of the page and out of what is
// copied, and copies texts of ours. Runs in the page's head, before Gradio's own script.
{
  const MARK = "\u2060";
  // The join before a note is Gradio's: a line break within a message, more when all are copied.
  const NOTES = /(?:\n\n?assistant: |\n)?\u2060\u2063.*/g;
  const MARKS = /\u2060([\u2062\u2063]?)/g;

  const unmarked = (text) => text.replace(MARKS, (_, kind) => (kind === "\u2062" ? MARK : ""));

  const original = (shown) => {
    const text = unmarked(shown.replace(NOTES, ""));
    // An answer that failed before its first word has nothing but its note.
    return text || unmarked(shown).replace(/^\*|\*$|\\(?=[\\`*_[\]])/g, "");
  };

  const write = navigator.clipboard?.writeText.bind(navigator.clipboard);
  if (write) navigator.clipboard.writeText = (text) => write(original(String(text)));

  // Copies a text as it is; whether it could.
  (window.chatUI ??= {}).copyText = async (text) => {
    if (write) return write(text).then(() => true, () => false);
    const box = document.createElement("textarea");
    box.value = text;
    box.style.cssText = "position: fixed; top: -99px";
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    return done;
  };
  // Without HTTPS there is no navigator.clipboard: Gradio copies from a textarea out of sight.
  document.addEventListener("copy", (event) => {
    const box = event.target;
    if (box instanceof HTMLTextAreaElement && box.style.left === "-999999px") {
      event.clipboardData.setData("text/plain", original(box.value));
      event.preventDefault();
    }
  });

  const clean = (root) => {
    if (!root.textContent.includes(MARK)) return;
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = root.nodeType === Node.TEXT_NODE ? root : texts.nextNode(); node; ) {
      if (node.data.includes(MARK)) node.data = unmarked(node.data);
      node = texts.nextNode();
    }
  };
  // An observer is called before the next paint, so nobody sees, selects or finds a mark.
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) {
        if (node.parentElement?.closest(".message")) clean(node);
      }
    }
  }).observe(document, { childList: true, subtree: true });
}

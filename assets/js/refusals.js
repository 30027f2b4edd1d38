// What the server won't take: said before it is sent where the page can know, and after it where only the server
// does. Gradio tells of neither, and waits for an answer that never comes.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.refusal) return;

  const MORE_BYTES = 4096; // of a request, beside its texts
  const KINDS = { 401: "page", 403: "page", 410: "unknown", 413: "too_large", 421: "page", 429: "many", 503: "full" };

  // {message_chars, body_bytes, import_bytes} of limits.py
  const limits = () => ui.islands.bar.props.value;

  const refusal = (status) => ui.text(`refusal.${KINDS[status] ?? "other"}`);

  // Why a text can't be sent; "" where it can.
  function tooLong(text, isMessage) {
    const { message_chars: most, body_bytes: bytes } = limits();
    const count = text.length > most ? [...text].length : 0; // as the server counts them
    if (isMessage && count > most) return ui.text("refusal.too_long", { count, limit: most });
    const texts = [...document.querySelectorAll("textarea")].map((area) => area.value);
    const isLarge = new TextEncoder().encode(JSON.stringify(texts)).length + MORE_BYTES > bytes;
    return isLarge ? refusal(413) : "";
  }

  function dataOf(options) {
    try { return JSON.parse(options.body).data; } catch { return []; }
  }

  // Its visitor was forgotten, in another window perhaps: nothing that this page asks for is taken again.
  let isUnknown = false;

  const fetched = window.fetch;
  window.fetch = async (...args) => {
    const answer = await fetched(...args);
    const [, asked] = /\/gradio_api\/(queue\/join|component_server)\b/.exec(String(args[0]?.url ?? args[0])) ?? [];
    const isEvent = asked === "queue/join";
    if (asked && answer.status === 410) isUnknown = true;
    if (isEvent && !answer.ok) ui.refused(dataOf(args[1]), refusal(answer.status));
    return answer;
  };

  Object.assign(ui, { limits, refusal, tooLong, isUnknown: () => isUnknown });
})();

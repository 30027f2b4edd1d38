// The meter below the message box: how much of the model's window the prompt would take, if the draft were sent
// now. The server counts (ui/context_server.py), with the model's own template.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.context) return;

  const byId = (id) => document.getElementById(id);
  const value = (selector) => document.querySelector(selector)?.value ?? "";
  const WAIT_MS = 300;

  let timer = 0;
  let asked = 0;
  let cut = null; // the first message that the model is still shown, where others are not

  // Soon, and once for many calls: it is called at every key.
  function update() {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  }

  async function ask() {
    if (!ui.islands?.context || ui.page.conversation === null || ui.isAway()) return;
    const mine = ++asked;
    let answer = null;
    try {
      answer = await ui.islands.context.server.context_use({
        conversation: ui.page.conversation,
        edited: ui.editing.id(),
        draft: value("#message textarea"),
        system_prompt: value("#system-prompt textarea"),
        begins_with: value("#set-begins-with textarea"),
        max_new_tokens: Number(value("#set-max-new-tokens input[type=number]")) || null,
        thinking: document.querySelector("#set-thinking input")?.checked ?? true,
      });
    } catch { /* the pulse says that the server is away */ }
    if (mine === asked) show(answer?.use ?? null);
  }

  function show(use) {
    const place = byId("context");
    if (!place) return;
    place.hidden = !use;
    const before = cut;
    cut = use?.dropped_messages ? use.first_message_id : null;
    if (cut !== before) ui.messages.draw();
    if (!use) return;
    const sum = use.system_tokens + use.history_tokens + use.draft_tokens;
    const parts = { system: use.system_tokens, history: use.history_tokens, draft: use.draft_tokens };
    for (const [name, tokens] of Object.entries(parts)) {
      place.querySelector(`[data-part="${name}"]`).style.flexBasis = `${(100 * tokens) / use.window_tokens}%`;
    }
    // Of a draft that is too long, so much was counted.
    const more = (tokens) => (use.is_draft_cut && tokens ? ui.text("context.more_than", { count: tokens }) : tokens);
    const sentence = ui.text("context.sum", { sum: more(sum), window: use.window_tokens });
    const all = ui.text("context.parts", {
      system: use.system_tokens,
      history: use.history_tokens,
      draft: more(use.draft_tokens),
      reserve: use.reserve_tokens,
    });
    const left = use.is_too_long || use.is_draft_cut ? ui.text("context.too_long")
      : use.dropped_messages ? ui.text("context.dropped", { count: use.dropped_messages })
      : "";
    const bar = place.querySelector(".bar");
    bar.setAttribute("aria-valuemax", String(use.window_tokens));
    bar.setAttribute("aria-valuenow", String(Math.min(sum, use.window_tokens)));
    bar.setAttribute("aria-valuetext", [sentence, left, all].filter(Boolean).join(". "));
    place.title = `${all}.`;
    place.toggleAttribute("data-full", Boolean(left));
    ui.setText(place.querySelector(".sum"), [sentence, left].filter(Boolean).join(" · "));
  }

  ui.context = { update, cut: () => cut };
})();

// The server's pulse (ui/pulse.py): the model's line, news of the list and of this chat, and
// whether the server is there at all. A plain call, which fails quietly.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.pulse) return;

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const UNKNOWN = "refusal.unknown"; // for good: another visitor's page by now
  const ANSWERS_MS = 8000; // whoever takes longer is away: a connection may be dead and not say so

  let server = ""; // which one; another has no part in what this page shows
  let list = ""; // digest of the list that is shown
  let model = null;
  let isOwner = false; // who is let in though it is closed
  let isAway = false;
  let why = ""; // the key of what is known of that, beside that it doesn't answer
  let timer = 0;
  let isAsking = false;
  let asksAgain = false;

  async function pulse() {
    const bar = ui.islands?.bar;
    if (!bar || why === UNKNOWN) return;
    if (isAsking) {
      asksAgain = true;
      return;
    }
    isAsking = true;
    clearTimeout(timer);
    try {
      // A plain question first: Gradio's client would complain to the console every time.
      if (isAway) await refuseClosed();
      if (ui.session.isFull) throw new Error("no session yet");
      show(await inTime(bar.server.pulse({ conversation: ui.page.conversation, list })));
    } catch {
      showAway(await reason());
    }
    isAsking = false;
    timer = setTimeout(pulse, asksAgain ? 50 : delay());
    asksAgain = false;
  }

  // Given up in the end, for a browser has six connections to a server, and dead ones would use them up.
  const health = () => fetch(`${window.gradio_config?.root ?? ""}/healthz`, {
    cache: "no-store", signal: AbortSignal.timeout(ANSWERS_MS),
  }).then((answer) => answer.json());

  async function refuseClosed() {
    if ((await health()).is_closed && !isOwner) throw new Error("closed");
  }

  // Why nothing came back: the key of a sentence.
  async function reason() {
    if (ui.isUnknown()) return UNKNOWN;
    const isClosed = await health().then((now) => now.is_closed, () => false);
    if (isClosed) return "page.closed";
    return ui.session.isFull ? "refusal.full" : "";
  }

  const inTime = (answer) =>
    Promise.race([answer, new Promise((_, late) => { setTimeout(late, ANSWERS_MS); })]);

  function delay() {
    if (document.hidden) return 15000;
    if (isAway) return 2500;
    return model && !model.is_settled ? 600 : 1500;
  }

  function show(now) {
    if (!now?.server) throw new Error("no pulse");
    if (server && server !== now.server) {
      ui.keepDraft();
      location.reload();
      return;
    }
    server = now.server;
    if (isAway) {
      ui.showAlert("");
      ui.goOn();
    }
    isAway = false;
    why = "";
    root.removeAttribute("data-away");
    if (now.error) {
      ui.showAlert(now.error);
      return;
    }
    showModel(now.model, now.notice);
    if (now.conversations) {
      list = now.list;
      ui.rail.show(now.conversations);
    }
    isOwner = now.is_owner;
    ui.owner.show(isOwner);
    ui.gone.show(now.gone);
    ui.followNews(now);
  }

  function showAway(reason) {
    if (reason && (reason !== why || !isAway)) ui.showAlert(ui.text(reason));
    isAway = true;
    why = reason;
    root.setAttribute("data-away", "");
    ui.setText(byId("model-line")?.querySelector(".state"), awayText("page.away"));
  }

  // What is said where the server doesn't answer, unless more is known.
  const awayText = (key) => ui.text(ui.isUnknown() ? UNKNOWN : why || key);

  document.addEventListener("visibilitychange", () => { if (!document.hidden) pulse(); });

  // ---- the model ----

  function showModel(now, notice) {
    const line = byId("model-line");
    if (!line) return;
    // The line has no room for a long reason; whoever has the page open is told it in full.
    if (model && model.revision !== now.revision && now.is_settled && now.error) {
      ui.showAlert(now.error);
    }
    if (model?.revision !== now.revision) ui.context.update();
    model = now;
    line.dataset.phase = now.phase;
    ui.setText(line.querySelector(".label"), now.label);
    ui.setText(line.querySelector(".facts"), now.facts);
    ui.setText(line.querySelector(".state"), now.state);
    const sentences = [now.error, now.note, notice].filter(Boolean).join(" ");
    const note = line.querySelector(".note");
    ui.setText(note, sentences);
    line.title = [`${now.label} · ${now.facts} · ${now.state}`, sentences].filter(Boolean).join("\n");
    note.hidden = !sentences;
    note.classList.toggle("error", Boolean(now.error));
    ui.setText(byId("note-seed"), now.seed);
    ui.setText(byId("note-assisted"), now.assisted);
    ui.setText(byId("note-system-prompt"), now.system_prompt);
    root.toggleAttribute("data-thinking-switch", now.has_thinking_switch);
    ui.showExamples(now.is_english_only);
    ui.models.show(now);
  }

  ui.pulse = pulse;
  ui.isAway = () => isAway;
  ui.awayText = awayText;
})();

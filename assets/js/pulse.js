// The server's pulse (ui/pulse.py): the model's line, the list of conversations, news of this chat, and
// whether the server is there at all. A plain call, which fails quietly.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.pulse) return;

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  let server = ""; // which one; another has no part in what this page shows
  let list = ""; // digest of the list that is shown
  let model = null;
  let isAway = false;
  let timer = 0;
  let isAsking = false;
  let asksAgain = false;

  async function pulse() {
    const bar = ui.islands?.bar;
    if (!bar) return;
    if (isAsking) {
      asksAgain = true;
      return;
    }
    isAsking = true;
    clearTimeout(timer);
    try {
      // A plain question first: Gradio's client would complain to the console every time.
      if (isAway) await fetch(`${window.gradio_config?.root ?? ""}/healthz`, { cache: "no-store" });
      show(await bar.server.pulse({ conversation: ui.page.conversation, list }));
    } catch {
      showAway();
    }
    isAsking = false;
    timer = setTimeout(pulse, asksAgain ? 50 : delay());
    asksAgain = false;
  }

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
    if (isAway) ui.showAlert("");
    isAway = false;
    root.removeAttribute("data-away");
    if (now.error) {
      ui.showAlert(now.error);
      return;
    }
    showModel(now.model, now.notice);
    if (now.conversations) {
      list = now.list;
      showList(now.conversations);
    }
    ui.followNews(now);
  }

  function showAway() {
    isAway = true;
    root.setAttribute("data-away", "");
    ui.setText(byId("model-line")?.querySelector(".state"), "The server doesn't answer. Trying again…");
  }

  document.addEventListener("visibilitychange", () => { if (!document.hidden) pulse(); });

  // ---- the model ----

  function showModel(now, notice) {
    const line = byId("model-line");
    if (!line) return;
    // The line has no room for a long reason; whoever has the page open is told it in full.
    if (model && model.revision !== now.revision && now.is_settled && now.error) {
      ui.showAlert(now.error);
    }
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
    ui.models.show(now);
  }

  // ---- the list of conversations ----

  function showList(conversations) {
    const nav = byId("rail-island")?.querySelector("nav");
    if (!nav) return;
    const items = conversations.map(([id, title]) => {
      const link = ui.element("a", title);
      link.href = `?c=${encodeURIComponent(id)}`;
      link.title = title;
      link.dataset.id = id;
      const item = document.createElement("li");
      item.append(link);
      return item;
    });
    nav.querySelector("ul").replaceChildren(...items);
    nav.querySelector(".none").hidden = items.length > 0;
    markCurrent();
  }

  function markCurrent() {
    let title = "";
    for (const link of document.querySelectorAll("#rail-island nav a")) {
      const isCurrent = link.dataset.id === ui.page.conversation;
      if (isCurrent) title = link.textContent;
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = title ? `${title} – chat_ui` : "chat_ui";
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#rail-island nav a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    ui.drawers.close();
    if (link.dataset.id !== ui.page.conversation) ui.choose(link.dataset.id);
  });

  ui.pulse = pulse;
  ui.markCurrent = markCurrent;
  ui.isAway = () => isAway;
})();

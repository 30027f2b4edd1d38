// What can be done with each message: a bar in the row of buttons that Gradio puts below it. Which messages
// are shown, and their versions, comes with the status (ui/message_bars.py); the server's part is
// ui/message_server.py.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.messages) return;

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);

  const ICONS = {
    edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
    branch: "M7 4v16M7 14c0-5 10-3 10-9M17 5v1M5 20h4",
    python: "M9 8l-4 4 4 4M15 8l4 4-4 4",
    details: "M12 11v6M12 7.5v.2M12 3.5a8.5 8.5 0 1 0 .01 0",
    previous: "M14 6l-6 6 6 6",
    next: "M10 6l6 6-6 6",
    done: "M5 12l5 5 9-10",
  };
  const OF = {
    user: ["edit", "branch"],
    assistant: ["edit", "branch", "python", "details"],
  };
  // What would change the conversation under an answer that is being written.
  const NOT_WHILE_BUSY = ["edit", "branch", "previous", "next"];

  // Of each message in the chat: {id, role, parts, at} and, where it has versions, {index, count, previous, next}.
  let shown = [];
  const NOTE = "\u2063"; // as ui/view.py begins a note
  const CUT = ui.text("message.cut");

  async function call(name, message, more = {}) {
    let answer;
    try {
      const given = { conversation: ui.page.conversation, message: message.id, ...more };
      answer = await ui.islands.status.server[name](given);
    } catch {
      answer = { error: ui.awayText("page.away_undone") };
    }
    answer ??= { error: ui.awayText("page.away_undone") }; // Gradio tells the console of it, and nobody else
    if (answer.error) ui.showAlert(answer.error);
    return answer.error ? null : answer;
  }

  // ---- drawing ----

  // The rows of each message: thoughts and a note on how it ended have rows of their own.
  function rowsOf() {
    const rows = [...document.querySelectorAll("#chat .message-wrap > .message-row")];
    const count = shown.reduce((sum, message) => sum + message.parts, 0);
    if (rows.length !== count) return []; // Gradio has not drawn them yet
    let from = 0;
    return shown.map((message) => rows.slice(from, (from += message.parts)));
  }

  function mark(place, name, value) {
    if ((place.dataset[name] ?? "") === value) return;
    if (value) place.dataset[name] = value;
    else delete place.dataset[name];
  }

  const isNote = (row) => row.querySelector("[data-testid]")?.ariaLabel?.includes(NOTE);

  function draw() {
    const found = rowsOf();
    const kept = new Set();
    found.forEach((rows, index) => {
      const message = shown[index];
      rows.forEach((row, at) => {
        // Attributes, because CSS that looks into every row (:has) costs each update of the chat.
        mark(row, "kind", at < message.at ? "thought" : isNote(row) ? "note" : "");
        mark(row, "cut", at === 0 && message.id === ui.context.cut() ? CUT : "");
      });
      const place = rows[message.at].nextElementSibling;
      if (!place?.matches(".message-buttons")) return;
      const bar = place.querySelector(":scope > .acts") ?? newBar(place);
      kept.add(bar);
      // What grows may not be another version a moment later.
      const isGrowing = newest?.busy && index === shown.length - 1;
      mark(place, "bar", isGrowing ? "growing" : message.at < rows.length - 1 ? "noted" : "yes");
      fill(bar, message, index);
    });
    for (const title of document.querySelectorAll("#chat .thought-group > .title")) {
      title.setAttribute("aria-expanded", String(title.classList.contains("expanded")));
    }
    // Rows are drawn for another message now and then, and one that is a note now has no bar.
    if (found.length) {
      for (const bar of document.querySelectorAll("#chat .acts")) if (!kept.has(bar)) drop(bar);
    }
  }

  function drop(bar) {
    mark(bar.parentElement, "bar", "");
    bar.remove();
  }

  function newBar(place) {
    const bar = document.createElement("div");
    bar.className = "acts";
    bar.setAttribute("role", "group");
    place.append(bar);
    return bar;
  }

  function fill(bar, message, index) {
    const now = JSON.stringify([message, index]);
    if (bar.dataset.shown === now) return;
    const focused = bar.contains(document.activeElement) ? document.activeElement.dataset.act : "";
    bar.dataset.shown = now;
    bar.setAttribute("aria-label", ui.text(message.role === "user" ? "message.yours" : "page.answer"));
    bar.replaceChildren(...OF[message.role].map((name) => button(name, message)));
    if (message.count > 1) bar.append(versions(message));
    if ("facts" in message) bar.append(ui.detail.facts(message));
    bar.classList.toggle("has-versions", message.count > 1);
    switchOff(bar);
    if (focused) (bar.querySelector(`[data-act="${focused}"]:enabled`) ?? bar.querySelector(".versions button:enabled"))?.focus();
  }

  function switchOff(place) {
    const isBusy = root.hasAttribute("data-busy");
    for (const name of NOT_WHILE_BUSY) {
      for (const made of place.querySelectorAll(`[data-act="${name}"]`)) {
        made.disabled = isBusy || made.hasAttribute("data-end");
      }
    }
  }

  function versions(message) {
    const place = document.createElement("span");
    place.className = "versions";
    const previous = button("previous", message);
    previous.toggleAttribute("data-end", !message.previous);
    const next = button("next", message);
    next.toggleAttribute("data-end", !message.next);
    const where = ui.element("span", `${message.index + 1} / ${message.count}`);
    where.className = "where";
    place.append(previous, where, next);
    return place;
  }

  function button(name, message) {
    const made = document.createElement("button");
    made.type = "button";
    made.dataset.act = name;
    made.title = ui.text(`message.${name}`);
    made.setAttribute("aria-label", made.title);
    made.append(icon(name));
    made.addEventListener("click", () => ACTS[name](message, made));
    return made;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  // ---- what they do ----

  let isStepping = false;
  async function showVersion(id, made) {
    if (isStepping || !id) return; // keys repeat
    isStepping = true;
    ui.scroll.hold(made.closest(".message-buttons"));
    const done = await call("show_version", { id });
    isStepping = false;
    if (done) ui.refresh();
  }

  let isBranching = false;
  const ACTS = {
    edit: (message) =>
      ui.editing.begin(message, async () => (await call("message_text", message))?.text ?? null),
    branch: async (message) => {
      if (isBranching) return; // a double click means one
      isBranching = true;
      const answer = await call("branch", message);
      isBranching = false;
      if (answer) ui.choose(answer.conversation);
    },
    python: async (message, made) => {
      const answer = await call("python_script", message);
      if (answer && (await ui.copyText(answer.text))) showDone(made);
    },
    details: async (message, made) => {
      const answer = await call("message_details", message);
      if (answer) showDetails(answer, made);
    },
    previous: (message, made) => showVersion(message.previous, made),
    next: (message, made) => showVersion(message.next, made),
  };

  function showDone(made) {
    made.replaceChildren(icon("done"));
    ui.announce(ui.text("page.copied"));
    setTimeout(() => made.replaceChildren(icon(made.dataset.act)), 1600);
  }

  // In the browser's zone and language.
  function timeOf(written) {
    const moment = new Date(written);
    const format = new Intl.DateTimeFormat(navigator.language, { dateStyle: "medium", timeStyle: "short" });
    const made = ui.element("time", format.format(moment));
    made.dateTime = written;
    return made;
  }

  function showDetails({ details, written }, made) {
    const place = byId("details") ?? document.body.appendChild(document.createElement("div"));
    place.id = "details";
    place.popover = "auto";
    place.setAttribute("role", "dialog");
    place.setAttribute("aria-label", ui.text("message.details"));
    const list = document.createElement("dl");
    for (const [name, value] of details) list.append(ui.element("dt", name), ui.element("dd", value));
    const when = document.createElement("dd");
    when.append(timeOf(written));
    list.append(ui.element("dt", ui.text("message.written")), when);
    place.replaceChildren(list);
    place.tabIndex = -1;
    place.showPopover({ source: made });
    const { left, top, bottom } = made.getBoundingClientRect();
    const below = bottom + 6 + place.offsetHeight < innerHeight;
    place.style.left = `${Math.max(8, Math.min(left - 12, innerWidth - place.offsetWidth - 8))}px`;
    place.style.top = `${below ? bottom + 6 : Math.max(8, top - 6 - place.offsetHeight)}px`;
    place.focus({ preventScroll: true });
  }

  // Left and right walk the versions while one is at them.
  document.addEventListener("keydown", (event) => {
    const name = { ArrowLeft: "previous", ArrowRight: "next" }[event.key];
    const bar = name && event.target.closest?.("#chat .acts");
    const made = bar?.querySelector(`[data-act="${name}"]:enabled`);
    if (!made) return;
    event.preventDefault();
    made.click();
  });

  // The status of every update says which bars there are; what they are is asked for when they are others.
  let digest = "";
  let isAsking = false;
  let newest = null;
  let misses = 0; // answers that were of another moment than the newest status
  const MOST_MISSES = 5; // another tab may show another version than this page's stream

  async function show(now) {
    if (newest?.bars !== now.bars) misses = 0;
    newest = now;
    if (now.bars === digest) {
      if (now.last && shown.length) shown[shown.length - 1] = { ...shown[shown.length - 1], ...now.last };
      draw();
      return;
    }
    if (!now.shown) {
      digest = now.bars;
      shown = [];
      return;
    }
    if (isAsking || misses >= MOST_MISSES) return;
    isAsking = true;
    let answer = null;
    try {
      const given = { conversation: now.conversation, shown: now.shown };
      answer = await ui.islands.status.server.message_bars(given);
    } catch { /* the pulse says that the server is away */ }
    isAsking = false;
    if (!answer?.bars) return; // the next status asks again
    if (answer.digest === newest.bars) {
      digest = answer.digest;
      shown = answer.bars;
      show(newest);
    } else if (++misses < MOST_MISSES) {
      setTimeout(() => show(newest), 200);
    }
  }

  // Once when an answer begins and once when it has ended, not with its updates.
  new MutationObserver(() => {
    const chat = byId("chat");
    if (chat) switchOff(chat);
  }).observe(root, { attributes: true, attributeFilter: ["data-busy"] });

  ui.messages = { draw, show };
})();

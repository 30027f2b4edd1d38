// The list of conversations: its groups, the search, and what can be done with one. The server's part is
// ui/list_server.py. Titles come from strangers' models and files: they are set with textContent.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.rail) return;

  const byId = (id) => document.getElementById(id);
  const nav = () => byId("rail-island")?.querySelector("nav");

  const MOST = 200; // so many the server lists; a search finds the others, too
  const MOST_FOUND = 50; // so many a search gives
  const SEARCH_MS = 200;
  const UNDO_MS = 60_000; // the server waits twice as long
  const DAY_MS = 86_400_000;
  const NONE = ui.text("rail.none");
  const ICONS = {
    pin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v5",
    unpin: "M9 4h6l-1 6 3 3v2H7v-2l3-3zM12 15v5M4 4l16 16",
    rename: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
    delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  };

  let all = []; // the list as the server has it
  let found = null; // what the search found, or null where there is none
  let renamed = null; // {id, title}: the one whose title is being typed
  let deleted = []; // {id, title, wasOpen} of each that Undo brings back, the last first
  let deletedAt = -1000; // in ms
  let searchTimer = 0;
  let undoTimer = 0;
  let searches = 0;

  // A call of the server; what it says against it is shown. True when it was done.
  async function call(name, given) {
    let answer;
    try {
      answer = await ui.islands.rail.server[name](given);
    } catch {
      answer = { error: ui.awayText("page.away_undone") };
    }
    answer ??= { error: ui.awayText("page.away_undone") }; // Gradio tells the console of it, and nobody else
    if (answer.error) ui.showAlert(answer.error);
    return answer.error ? null : answer;
  }

  async function change(name, given) {
    const answer = await call(name, given);
    ui.pulse();
    if (found) search();
    return answer !== null;
  }

  // ---- drawing ----

  function draw() {
    const place = byId("conversations");
    if (!place || renamed) return; // what is being typed stays
    const focused = place.contains(document.activeElement) ? document.activeElement : null;
    const again = focused && { id: focused.closest("li")?.dataset.id, name: focused.dataset.act };
    place.replaceChildren(...groups(found ?? all));
    if (again?.id) focusIn(again.id, again.name);
    ui.setText(nav().querySelector(".none"), note());
    markCurrent();
  }

  function note() {
    if (found) {
      return found.length >= MOST_FOUND ? ui.text("rail.many_found") : found.length ? "" : ui.text("rail.not_found");
    }
    if (!all.length) return NONE;
    return all.length < MOST ? "" : ui.text("rail.newest");
  }

  function groups(conversations) {
    const today = new Date().setHours(0, 0, 0, 0);
    const titles = found
      ? [["found", () => true]]
      : [
        ["pinned", (one) => one.is_pinned],
        ["today", (one) => Date.parse(one.updated_at) >= today],
        ["week", (one) => Date.parse(one.updated_at) >= today - 6 * DAY_MS],
        ["older", () => true],
      ];
    const members = titles.map(() => []);
    for (const one of conversations) members[titles.findIndex(([, has]) => has(one))].push(one);
    return titles.flatMap(([name], index) =>
      members[index].length ? [group(name, members[index])] : []);
  }

  function group(name, conversations) {
    const section = document.createElement("section");
    const heading = ui.element("h3", ui.text(`rail.${name}`));
    heading.id = `group-${name}`;
    const list = document.createElement("ul");
    list.setAttribute("aria-labelledby", heading.id);
    list.append(...conversations.map(row));
    section.append(heading, list);
    return section;
  }

  function row(one) {
    const item = document.createElement("li");
    item.dataset.id = one.id;
    const link = ui.element("a", one.title);
    link.href = `?c=${encodeURIComponent(one.id)}`;
    link.title = one.title;
    link.id = `conversation-${one.id}`;
    const actions = document.createElement("div");
    actions.className = "actions";
    actions.append(
      icon(one.is_pinned ? "unpin" : "pin", one, () =>
        change("pin_conversation", { id: one.id, is_pinned: !one.is_pinned })),
      icon("rename", one, () => rename(item, one)),
      icon("delete", one, () => remove(one)),
    );
    item.append(link, actions);
    if (one.found) {
      const where = ui.element("p", one.found);
      where.className = "found";
      item.append(where);
    }
    return item;
  }

  function icon(name, one, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.act = name;
    button.title = ui.text(`rail.${name}`);
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-describedby", `conversation-${one.id}`);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    button.append(svg);
    button.addEventListener("click", act);
    return button;
  }

  const rowOf = (id) => byId(`conversation-${id}`)?.closest("li");

  // Pin becomes Unpin: the one who pressed it is still there.
  function focusIn(id, name) {
    const place = rowOf(id);
    if (!place) return;
    place.classList.add("focused"); // a button that isn't shown takes no focus
    const index = { pin: 0, unpin: 0, rename: 1, delete: 2 }[name] ?? -1;
    (place.querySelectorAll(".actions button")[index] ?? place.querySelector("a")).focus();
    place.classList.remove("focused");
  }

  function markCurrent() {
    for (const link of document.querySelectorAll("#conversations a")) {
      const isCurrent = link.closest("li").dataset.id === ui.page.conversation;
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const title = all.find((one) => one.id === ui.page.conversation)?.title;
    document.title = title ? `${title} – chat_ui` : "chat_ui";
  }

  // ---- what can be done ----

  function rename(item, one) {
    const input = document.createElement("input");
    input.type = "text";
    input.value = one.title;
    input.maxLength = 200;
    input.setAttribute("aria-label", ui.text("rail.title"));
    const mine = (renamed = { id: one.id });
    const end = async (isKept) => {
      if (renamed !== mine) return;
      renamed = null;
      const title = input.value.trim();
      const hadFocus = input === document.activeElement;
      if (isKept && title && title !== one.title) {
        item.querySelector("a").textContent = title;
        if (await change("rename_conversation", { id: one.id, title })) one.title = title;
      }
      draw();
      if (hadFocus) focusIn(one.id, "rename");
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter") {
        event.preventDefault(); // else it would press Rename, which has the focus by then
        end(true);
      }
      if (event.key === "Escape") {
        event.stopPropagation();
        end(false);
      }
    });
    // A click has left the box: it reaches its own target before that is drawn anew.
    input.addEventListener("blur", () => setTimeout(() => end(true), 250));
    item.replaceChildren(item.querySelector("a"), input);
    item.classList.add("renaming");
    input.focus();
    input.select();
  }

  async function remove(one) {
    // The next row comes to where this one was: a double click means this one alone.
    if (performance.now() - deletedAt < 700) return;
    deletedAt = performance.now();
    if (!(await change("delete_conversation", { id: one.id }))) return;
    deletedAt = performance.now();
    const wasOpen = ui.page.conversation === one.id;
    all = all.filter((other) => other.id !== one.id);
    draw();
    if (wasOpen) ui.choose("");
    deleted.push({ ...one, wasOpen });
    showUndo();
  }

  async function restore() {
    const { id, wasOpen } = deleted.pop();
    showUndo();
    if (!(await change("restore_conversation", { id }))) return;
    // Whoever has begun another chat meanwhile stays in it.
    if (wasOpen && !ui.page.conversation) ui.choose(id);
    else if (!deleted.length) rowOf(id)?.querySelector("a").focus();
  }

  function showUndo() {
    const one = deleted.at(-1);
    clearTimeout(undoTimer);
    const place = byId("undo");
    if (!one) {
      place.replaceChildren();
      return;
    }
    const sentence = document.createElement("p");
    const title = ui.element("b", one.title);
    sentence.append(`${ui.text("rail.deleted")} `, title);
    const undo = ui.element("button", ui.text("rail.undo"));
    undo.type = "button";
    undo.addEventListener("click", restore);
    place.replaceChildren(sentence, undo);
    undo.focus({ preventScroll: true });
    undoTimer = setTimeout(() => {
      deleted = [];
      showUndo();
    }, UNDO_MS);
  }

  // ---- the search ----

  async function search() {
    const text = byId("search").value.trim();
    const mine = ++searches;
    if (!text) {
      found = null;
      draw();
      return;
    }
    const answer = await call("search_conversations", { text });
    if (mine !== searches || !answer) return; // a later search has been answered, or it failed
    found = answer.conversations;
    draw();
  }

  function clearSearch() {
    if (!byId("search")?.value) return;
    byId("search").value = "";
    clearTimeout(searchTimer);
    search();
  }

  function mount() {
    const box = byId("search");
    box.addEventListener("input", () => {
      clearTimeout(searchTimer);
      searchTimer = setTimeout(search, box.value.trim() ? SEARCH_MS : 0);
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !box.value) return;
      event.stopPropagation();
      clearSearch();
    });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#conversations a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const { id } = link.closest("li").dataset;
    ui.drawers.close();
    if (id !== ui.page.conversation) ui.choose(id);
  });

  ui.rail = {
    mount, markCurrent, call, clearSearch,
    focusSearch() {
      ui.drawers.open("rail");
      byId("search")?.focus();
      byId("search")?.select();
    },
    show(conversations) {
      all = conversations;
      draw();
    },
  };
})();

// The message box, the line under the chat, alerts, and the address: what Gradio leaves open. The islands are
// ui/islands.py. No HTML is ever built from text: every text from outside is set with textContent.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.page) return;

  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const box = () => document.querySelector("#message textarea");

  const BUSY = ui.text("page.busy");
  const EMPTY = ui.text("page.empty");
  const SLOW = ui.text("page.slow");
  const DEAD_MS = 5000; // after which a stream that brings nothing is given up

  const page = (ui.page = {
    conversation: null, // null until the first status has come
    head: "", // the last message that is shown
    expected: null, // the one that was opened last; what shows another one comes late
    isTemporary: false, // it is kept in the server's memory only
    isDraftTemporary: false, // what stands in the box was typed there
    version: "",
    isBusy: false, // an answer is being written, says the newest status
    isSending: false, // Send was pressed, and no status has come since
    unsent: "", // the text that was sent and that the server has not taken yet
    edited: "", // the question that it is another version of
    chosen: "", // the conversation that the list or the Back button asks for
    isOpening: true, // a conversation was asked for and is not here yet: what is sent now would miss it
    isHeld: false, // Send was pressed meanwhile
    pressedAt: -1000, // when Send was let through, in ms
    isPressed: false, // Send was let through, and Gradio has not begun to send yet
    isPopping: false,
  });
  const islands = (ui.islands = {});

  // ---- the message box ----

  function setBox(text) {
    const area = box();
    if (!area) return;
    area.value = text;
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  // While a message is being edited, the box holds that; the draft is what stood there before.
  const draft = () =>
    [page.unsent, ui.editing.draft() ?? box()?.value].filter(Boolean).join("\n\n");

  // What is sent from the first screen begins a temporary chat while this is checked; elsewhere it means nothing.
  const beginsTemporary = () => byId("temporary")?.checked === true;
  const isTemporary = () => page.isTemporary || page.isDraftTemporary
    || (root.hasAttribute("data-empty") && beginsTemporary())
    || (page.conversation === null && idFromUrl().startsWith("t")); // as the ids of temporary chats do

  // The draft outlives a reload of this tab: ours after a restart of the server, and Gradio's own. A browser
  // keeps it on the disk, where nothing of a temporary chat may be.
  const keepDraft = () => ui.kept.keepDraft(isTemporary() ? "" : draft());

  function giveBackUnsent() {
    const text = [page.unsent, box()?.value].filter(Boolean).join("\n\n");
    page.unsent = "";
    setBox(text);
  }

  // Runs as Send's `js`: the box is free for the next message before the server has answered.
  function sending([text, , , conversation, , ...values]) {
    page.isPressed = false;
    page.edited = ui.editing.id();
    text ??= "";
    values.unshift(text, page.edited, beginsTemporary(), conversation, shownIn(conversation));
    if (text.trim()) {
      page.unsent = text;
      setBox("");
      setSending(true);
    }
    ui.scroll.stick();
    return values;
  }

  function regenerating([conversation, , ...values]) {
    setSending(true);
    ui.scroll.stick();
    return [conversation, shownIn(conversation), ...values];
  }

  // What is asked for is asked of the message that one sees: another tab may show another version by now.
  const shownIn = (conversation) => (conversation === page.conversation ? page.head : "");

  let sendingTimer = 0;
  function setSending(is) {
    page.isSending = is;
    clearTimeout(sendingTimer);
    // An event that Gradio itself refuses brings no outcome.
    if (is) sendingTimer = setTimeout(() => showOutcome({ kind: "unsent", sentence: SLOW }), 20000);
    root.toggleAttribute("data-busy", page.isBusy || page.isSending);
    ui.announcer.set(page.isBusy || page.isSending);
  }

  // What can't be sent now stays in the box, and Gradio does not hear of it.
  function keepFromSending(event) {
    if (ui.editing.isComing()) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    // A second press at once is one too many: a new text in the box is not that.
    const isTwice = performance.now() - page.pressedAt < 150 && (page.isPressed || !box()?.value.trim());
    if (ui.editing.isUnchanged()) { // there is nothing to send, and a second press must not send the draft
      event.preventDefault();
      event.stopImmediatePropagation();
      page.pressedAt = performance.now();
      page.isPressed = true;
      ui.editing.end();
      return;
    }
    const tooLong = ui.tooLong(box()?.value ?? "", !ui.editing.ofAnswer());
    if (ui.editing.ofAnswer() && box()?.value.trim() && !ui.isAway() && !tooLong) {
      event.preventDefault();
      event.stopImmediatePropagation();
      ui.editing.save(box().value);
      return;
    }
    const reason = ui.isAway() ? ui.awayText("page.away_unsent")
      : root.hasAttribute("data-busy") && !page.isOpening ? BUSY // busy is what one is leaving
      : box()?.value.trim() ? tooLong : EMPTY;
    if (!reason && !page.isOpening && !isTwice) {
      page.pressedAt = performance.now();
      page.isPressed = true;
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    page.isHeld = !reason && page.isOpening;
    if (reason && !isTwice) showAlert(reason, "hint");
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#send")) keepFromSending(event);
  }, true);

  // Buttons that go away when they are pressed take the focus with them. A finger would get a keyboard for it.
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#send, #stop, #regenerate, #continue")) return;
    if (window.matchMedia("(hover: none)").matches) return;
    setTimeout(() => {
      if (document.activeElement === document.body || !document.activeElement?.offsetParent) box()?.focus({ preventScroll: true });
    }, 400);
  });

  let openingTimer = 0;
  let openingAt = 0; // in ms
  function setOpening(is) {
    page.isOpening = is;
    if (is) openingAt = performance.now();
    clearTimeout(openingTimer);
    // An event that never ends must not keep the page from sending for ever.
    if (is) openingTimer = setTimeout(() => setOpening(false), 30000);
    if (is || !page.isHeld) return;
    page.isHeld = false;
    setTimeout(() => byId("send")?.click(), 50); // Gradio has to know the conversation first
  }

  document.addEventListener("keydown", (event) => {
    const inBox = event.target === box();
    // While a character is being composed, Enter takes it and Escape gives it up.
    if (event.isComposing || event.keyCode === 229) {
      if (inBox) event.stopImmediatePropagation();
    } else if (inBox && event.key === "Enter" && !event.shiftKey) {
      keepFromSending(event);
    } else if (event.key === "Escape") {
      const { target } = event;
      // A popover that is open, and a dialog, close first; the browser sees to it.
      if (document.querySelector(":popover-open, dialog[open]")) return;
      if (target.getAttribute?.("aria-expanded") === "true") return; // an open list closes first
      if (target.matches?.("#rail-island .renaming input")) return; // given up first
      if (target.matches?.("#rail-island input") && target.value) return; // emptied first
      if (inBox && ui.editing.isOn()) {
        ui.editing.end();
        return;
      }
      if (!ui.drawers.close() && root.hasAttribute("data-busy")) byId("stop")?.click();
    }
  }, true);

  document.addEventListener("input", (event) => {
    if (event.target === box()) {
      if (!box().value) page.isDraftTemporary = false;
      keepDraft();
    }
    if (event.target.matches?.("#message textarea, #system-prompt textarea, #set-max-new-tokens input, #set-begins-with textarea, #set-thinking input")) {
      ui.context.update();
    }
  });

  // ---- the line under the chat ----

  function showStatus(now) {
    if (!now || now.empty === null) return; // not yet an answer from the server
    clearTimeout(deadTimer);
    if (now.failure) {
      page.isBusy = false;
      setSending(false);
      setText(byId("status"), "");
      showAlert(now.failure);
      return;
    }
    if (isLate(now)) return;
    const isFirst = page.conversation === null;
    const isOther = page.conversation !== now.conversation;
    if (isOther && page.conversation) ui.editing.end();
    if (isOther && page.isTemporary) page.isDraftTemporary = Boolean(box()?.value);
    const hasEnded = page.isBusy && !now.busy;
    setText(byId("status"), now.text);
    setText(byId("live"), now.live);
    showNotes([now.unshown, ...now.notes].filter(Boolean));
    ui.messages.show(now);
    page.isBusy = now.busy;
    page.version = now.version;
    page.head = now.head;
    page.isTemporary = now.temporary;
    setSending(false);
    root.toggleAttribute("data-empty", now.empty);
    root.toggleAttribute("data-earlier", now.earlier > 0);
    root.toggleAttribute("data-regenerate", now.regenerate);
    root.toggleAttribute("data-continue", now.continue);
    if (isOther) showConversation(now, isFirst);
    // Who was quicker than the first status has sent the draft already.
    // A browser fills boxes with what stood there before a reload, which may be a message being edited.
    if (isFirst && !page.unsent && (!box()?.value || ui.kept.draft())) setBox(ui.kept.draft());
    if (hasEnded && byId("alert")?.dataset.kind === "hint") showAlert("");
    if (isOther || hasEnded) ui.pulse();
    if (!now.busy) ui.context.update();
  }

  // Streams of events that end and begin are not in order in the browser: the last of the one before may
  // come after the first of the next, and would have put its messages into the chat.
  let lateTimer = 0;
  function isLate(now) {
    const is = page.expected !== null && now.conversation !== page.expected;
    clearTimeout(lateTimer);
    if (is) lateTimer = setTimeout(() => islands.bar.trigger("tick"), 300);
    return is;
  }

  function showNotes(notes) {
    const list = byId("notes");
    const shown = notes.join("\n");
    if (!list || list.dataset.shown === shown) return;
    list.dataset.shown = shown;
    list.replaceChildren(...notes.map((note) => element("li", note)));
  }

  function showConversation(now, isFirst) {
    const before = page.conversation;
    page.conversation = now.conversation;
    const url = new URL(location.href);
    if (now.conversation) url.searchParams.set("c", now.conversation);
    else url.searchParams.delete("c");
    if (url.href !== location.href) {
      // The first message makes this page's conversation: Back must not lead to the page without it.
      const isSamePage = isFirst || !before || page.isPopping;
      history[isSamePage ? "replaceState" : "pushState"](null, "", url);
    }
    page.isPopping = false;
    ui.scroll.stick();
    ui.rail.markCurrent();
  }

  // Another tab has sent something here, or pressed Regenerate: this page follows.
  function followNews(now) {
    if (!page.conversation || page.isSending || page.isBusy) return;
    const isNew = now.version && page.version && now.version !== page.version;
    if (now.running || isNew) islands.bar.trigger("tick");
  }

  // The connection was gone and is back. The stream that brought an answer may be dead without anybody's
  // knowing, and Gradio would wait for it for ever.
  let deadTimer = 0;
  function goOn() {
    if (!page.isBusy && !page.isSending) return;
    islands.bar.trigger("tick");
    clearTimeout(deadTimer);
    deadTimer = setTimeout(() => { keepDraft(); location.reload(); }, DEAD_MS);
  }

  // ---- going to a conversation ----

  const idFromUrl = () => new URLSearchParams(location.search).get("c") ?? "";

  function choose(id) {
    page.chosen = id;
    setOpening(true);
    islands.rail?.trigger("select");
  }

  window.addEventListener("popstate", () => {
    page.isPopping = true;
    choose(idFromUrl());
  });

  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("#new-chat")) return;
    setOpening(true);
    ui.drawers.close();
    box()?.focus();
  });

  // ---- outcomes and alerts ----

  function showOutcome(now) {
    if (!now) return;
    if ("conversation" in now) page.expected = now.conversation;
    if (now.kind === "sent") {
      page.unsent = "";
      // Another message may be edited by now.
      if (page.edited && page.edited === ui.editing.id()) ui.editing.end(true);
      page.edited = "";
      keepDraft();
      if (!page.conversation) ui.rail.clearSearch(); // else the list would not show the new one
    }
    if (now.kind === "unsent") giveBackUnsent();
    if (now.kind !== "sent" && now.kind !== "done") ui.announcer.cancel();
    if (now.kind === "unsent" || now.kind === "refused") setSending(false);
    if (now.kind === "opened" || now.kind === "absent") {
      if ("conversation" in now && page.expected !== page.conversation) {
        page.isBusy = false; // that was the one before; the new one's status says it anew
        setSending(false);
      }
      if ("conversation" in now) ui.prompts.forget();
      setOpening(false);
    }
    // What was just done may have opened this one, and what was said since it was asked for is still true.
    const isSince = now.kind === "opened" && alertAt > openingAt;
    if (now.sentence || !(isSince || byId("alert")?.dataset.kind === "done")) showAlert(now.sentence);
    if (now.kind !== "opened") ui.pulse();
  }

  // The server did not even take the event with these values, so it brings no outcome.
  function refused([first], sentence) {
    if (page.unsent && first === page.unsent) {
      showOutcome({ kind: "unsent", sentence });
      return;
    }
    setSending(false);
    setOpening(false);
    showAlert(sentence);
  }

  let alertTimer = 0;
  let alertAt = 0; // in ms
  // With what one can do about it, {name, act}, where there is something.
  function showAlert(sentence, kind = "error", remedy = null) {
    const place = byId("alert");
    if (!place) return;
    place.dataset.kind = sentence ? kind : "";
    alertAt = performance.now();
    clearTimeout(alertTimer);
    if (kind === "done") alertTimer = setTimeout(() => showAlert(""), 10_000);
    if (!sentence) {
      place.replaceChildren();
      return;
    }
    const close = element("button", "×");
    close.type = "button";
    close.setAttribute("aria-label", ui.text("page.dismiss"));
    close.addEventListener("click", () => place.replaceChildren());
    place.replaceChildren(element("p", sentence), close);
    // Nothing else helps a page that the server doesn't know any more.
    if (ui.isUnknown()) remedy = { name: ui.text("page.reload"), act: () => location.replace(location.pathname) };
    if (!remedy) return;
    const button = element("button", remedy.name);
    button.type = "button";
    button.className = "remedy";
    button.addEventListener("click", remedy.act);
    close.before(button);
  }

  // ---- small things ----

  // Show the conversation as it is now on the server.
  const refresh = () => islands.bar.trigger("tick");

  // Said by a screen reader, and seen by nobody.
  function announce(sentence) {
    setText(byId("said"), "");
    setTimeout(() => setText(byId("said"), sentence), 50);
  }

  function element(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }

  function setText(place, text) {
    if (place && place.textContent !== text) place.textContent = text;
  }

  // ---- islands ----

  // Where the model understands English only, they are in English, and it is said why.
  let isEnglishOnly = null; // not known yet
  function showExamples(is) {
    isEnglishOnly = is;
    const list = islands.welcome?.element.querySelector(".examples");
    const language = is ? "en" : root.lang;
    if (is === null || !list || list.lang === language) return;
    list.lang = language;
    byId("english-only").hidden = !is || root.lang === "en";
    const examples = islands.welcome.props.value.map((key) => {
      const text = is ? ui.english(key) : ui.text(key);
      const button = element("button", text);
      button.type = "button";
      button.addEventListener("click", () => {
        setBox(text);
        setTimeout(() => byId("send")?.click(), 30); // Gradio has to hear of the text first
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    list.replaceChildren(...examples);
  }

  const MOUNT = {
    bar: () => { ui.drawers.show(); ui.pulse(); setOpening(true); },
    rail: () => { ui.rail.mount(); ui.files.mount(); ui.privacy.mount(); },
    owner: (island) => ui.owner.mount(island),
    model: (island) => ui.models.mount(island),
    prompts: (island) => ui.prompts.mount(island),
    context: () => ui.context.update(),
    look: (island) => ui.look.mount(island),
    detail: (island) => ui.detail.mount(island),
    welcome: () => { byId("temporary").addEventListener("change", keepDraft); showExamples(isEnglishOnly); },
    status: ({ props, watch }) => watch("value", () => showStatus(props.value)),
    outcome: ({ props, watch }) => watch("value", () => showOutcome(props.value)),
  };

  Object.assign(ui, {
    mount(name, island) {
      islands[name] = island;
      ui.fillTexts(island.element);
      MOUNT[name](island);
      ui.nameControls();
    },
    sending, regenerating, refused, keepDraft, setBox, refresh, announce, showAlert, followNews, goOn, choose, idFromUrl, element, setText,
    showExamples,
    chosen: () => page.chosen,
    draftInBox: () => box()?.value ?? "",
  });
})();

// "This server": who is here, the public link, and the stop switch, for the server's owner alone (ui/owner_server.py
// refuses others). It asks for nothing while it is closed.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.owner) return;

  const EVERY_MS = 2000;

  let island = null;
  let dialog = null;
  let at = {}; // its parts, by name
  let timer = 0;
  let isOwner = false;
  let isSetting = false; // the switch is being set
  let calls = 0;

  // ---- its parts ----

  function button(text, act, className = "") {
    const made = ui.element("button", text);
    Object.assign(made, { type: "button", className });
    made.addEventListener("click", act);
    return made;
  }

  function group(className, ...parts) {
    const made = ui.element("div", "");
    made.className = className;
    made.append(...parts);
    return made;
  }

  function link() {
    at.url = ui.element("a", "");
    Object.assign(at.url, { target: "_blank", rel: "noopener noreferrer" });
    at.ends = ui.element("p", "");
    at.code = ui.element("img", "");
    at.code.alt = ui.text("owner.code");
    const copy = button(ui.text("owner.copy"), async () => {
      if (await ui.copyText(at.url.href)) ui.setText(at.said, ui.text("page.copied"));
    });
    at.said = ui.element("span", "");
    at.said.setAttribute("role", "status");
    const heading = ui.element("h3", ui.text("owner.link"));
    at.link = group("link", heading, at.code, group("about", at.url, group("buttons", copy, at.said), at.ends));
    at.link.hidden = true;
    return at.link;
  }

  function noLink() {
    at.noLink = ui.element("p", ui.text("owner.no_link"));
    at.noLink.hidden = true;
    return at.noLink;
  }

  function stopSwitch() {
    at.state = ui.element("p", "");
    at.state.setAttribute("role", "status");
    at.pause = button(ui.text("owner.pause"), () => confirm(true));
    at.resume = button(ui.text("owner.resume"), () => set(false));
    at.keep = button(ui.text("owner.keep"), () => confirm(false));
    const sure = button(ui.text("owner.pause_now"), () => set(true), "danger");
    const what = ui.element("p", ui.text("owner.pause_text"));
    what.id = "owner-pause-text";
    sure.setAttribute("aria-describedby", what.id);
    at.confirm = group("confirm", what, group("buttons", at.keep, sure));
    for (const part of [at.pause, at.resume, at.confirm]) part.hidden = true;
    return group("switch", at.state, group("buttons", at.pause, at.resume), at.confirm);
  }

  function make() {
    dialog = document.createElement("dialog");
    dialog.id = "owner";
    dialog.className = "dialog";
    const heading = ui.element("h2", ui.text("owner.name"));
    Object.assign(heading, { id: "owner-heading", tabIndex: -1, autofocus: true }); // Enter opens no link
    dialog.setAttribute("aria-labelledby", heading.id);
    at.figures = document.createElement("dl");
    at.error = ui.element("p", "");
    at.error.className = "error";
    at.error.setAttribute("role", "alert");
    const close = button(ui.text("keys.close"), () => dialog.close());
    dialog.append(heading, at.figures, link(), noLink(), stopSwitch(), at.error, close);
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => clearTimeout(timer));
    document.body.append(dialog);
  }

  // ---- what it shows ----

  function figure([label, value], number) {
    const row = at.figures.children[number] ?? at.figures.appendChild(group("", ui.element("dt", ""), ui.element("dd", "")));
    ui.setText(row.firstChild, label);
    ui.setText(row.lastChild, value);
  }

  function show(now) {
    ui.setText(at.error, now.error ?? "");
    if (now.error) return;
    now.figures.forEach(figure);
    at.link.hidden = !now.link;
    at.noLink.hidden = !now.has_no_tunnel;
    if (now.link && at.url.href !== now.link.url) {
      ui.setText(at.url, now.link.url);
      at.url.href = now.link.url;
      at.code.src = now.link.image;
      const when = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
      const end = now.link.ends_at; // a Space's address has none
      ui.setText(at.ends, end ? ui.text("owner.ends", { when: when.format(new Date(end)) }) : "");
    }
    ui.setText(at.state, ui.text(now.is_closed ? "owner.paused" : "owner.running_on"));
    at.resume.hidden = !now.is_closed;
    if (now.is_closed) at.confirm.hidden = true;
    at.pause.hidden = now.is_closed || !at.confirm.hidden;
  }

  function confirm(is) {
    at.confirm.hidden = !is;
    at.pause.hidden = is;
    (is ? at.keep : at.pause).focus(); // Enter does no harm
  }

  async function set(isClosed) {
    isSetting = true;
    await tell(island.server.set_closed({ is_closed: isClosed }));
    isSetting = false;
    (isClosed ? at.resume : at.pause).focus();
  }

  async function look() {
    clearTimeout(timer);
    if (!document.hidden && !isSetting) await tell(island.server.owner_figures({}));
  }

  async function tell(answer) {
    clearTimeout(timer);
    const call = ++calls;
    // Gradio gives nothing where the server refused the call.
    const now = (await answer.catch(() => null)) ?? { error: ui.awayText("page.away") };
    if (call !== calls) return; // a look that was under way when the switch was set
    show(now);
    if (dialog.open) timer = setTimeout(look, EVERY_MS);
  }

  document.addEventListener("visibilitychange", () => { if (dialog?.open) look(); });

  function open() {
    if (!dialog) make();
    at.confirm.hidden = true;
    ui.setText(at.said, "");
    dialog.showModal();
    look();
  }

  ui.owner = {
    mount(mounted) {
      island = mounted;
      island.element.querySelector("#show-owner").addEventListener("click", open);
      ui.owner.show(isOwner);
    },
    // Whether this browser is the owner's, says the pulse.
    show(is) {
      isOwner = is;
      document.documentElement.toggleAttribute("data-owner", is);
      const shown = island?.element.querySelector("#show-owner");
      if (shown) shown.hidden = !is;
    },
  };
})();

// Draws the panel "Model" from values: a model's card (ui/model_card.py), and the line on the one that is
// loaded (ui/model_line.py). Everything is changed in place, so that the focus stays where it is; every
// text is set as text. What is chosen and asked is models.js.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.card) return;

  const setText = (place, text) => ui.setText(place, text ?? "");

  // A text, and no gap where there is none.
  function setLine(place, text) {
    setText(place, text);
    place.hidden = !text;
  }

  function setList(list, lines) {
    const now = JSON.stringify(lines);
    if (list.dataset.now === now) return;
    list.dataset.now = now;
    list.replaceChildren(...lines.map((text) => ui.element("li", text)));
    list.hidden = !lines.length;
  }

  // ---- what the model is ----

  function drawHead(place, card) {
    const at = (name) => place.querySelector(`.card-head .${name}`);
    setLine(at("about"), card.about);
    setLine(at("counts"), card.counts);
    setLine(at("reading"), card.reading);
    setLine(at("facts"), card.facts.join(" · "));
    setLine(at("problem"), card.problem);
    at("gated").hidden = !card.ask_at;
    setText(at("gated").querySelector("span"), card.gated);
    if (card.ask_at) at("gated").querySelector("a").href = card.ask_at;
    setLine(place.querySelector(".fitting"), card.fitting);
    setLine(place.querySelector(".machine"), card.machine);
  }

  function drawContexts(select, { contexts, context }) {
    const now = JSON.stringify(contexts);
    if (select.dataset.now !== now) {
      select.dataset.now = now;
      select.replaceChildren(...contexts.map(([tokens, name]) => new Option(name, tokens)));
    }
    select.value = String(context);
    select.disabled = contexts.length < 2;
  }

  // ---- precisions ----

  let rows = 0;

  function makeRow({ id, label }) {
    const row = document.createElement("div");
    row.className = "row";
    row.dataset.precision = id;
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "precision", value: id });
    input.setAttribute("aria-label", label);
    const line = ui.element("span", "");
    line.className = "row-line";
    line.id = `precision-line-${++rows}`;
    const verdict = ui.verdict({ verdict: "", word: "" });
    verdict.id = `precision-verdict-${rows}`;
    input.setAttribute("aria-describedby", `${line.id} ${verdict.id}`);
    const name = ui.element("span", label);
    name.className = "row-name";
    const body = document.createElement("label");
    body.append(input, name, verdict, line);
    row.append(body, makeCaveats(label));
    return row;
  }

  function makeCaveats(label) {
    const caveats = document.createElement("details");
    caveats.className = "caveats";
    caveats.hidden = true;
    const head = ui.element("summary", ui.text("model.caveats"));
    head.setAttribute("aria-label", ui.text("model.caveats_of", { name: label }));
    caveats.append(head, document.createElement("ul"));
    return caveats;
  }

  // precisions: of a card, or only their ids and labels while there is none.
  function drawRows(fieldset, precisions) {
    const kinds = fieldset.querySelector(".kinds");
    const places = { main: fieldset.querySelector(".rows"), kinds: kinds.querySelector(".rows") };
    const old = new Map([...fieldset.querySelectorAll(".row")].map((row) => [row.dataset.precision, row]));
    for (const one of precisions) {
      const place = one.kind_of ? places.kinds : places.main;
      const row = old.get(one.id) ?? makeRow(one);
      old.delete(one.id);
      if (row.parentElement !== place) place.append(row);
      drawRow(row, one);
    }
    old.forEach((row) => row.remove());
    kinds.hidden = !places.kinds.children.length;
  }

  function drawRow(row, { line, reason, verdict, word, caveats }) {
    row.querySelector("input").disabled = Boolean(reason);
    const told = row.querySelector(".row-line");
    setText(told, line);
    if (caveats?.length) told.dataset.beside = ui.text("model.caveats");
    else delete told.dataset.beside;
    const sign = row.querySelector(".verdict");
    sign.dataset.verdict = verdict ?? "";
    setText(sign, word);
    const details = row.querySelector(".caveats");
    details.hidden = !caveats?.length;
    setList(details.querySelector("ul"), caveats ?? []);
  }

  function check(fieldset, precision) {
    for (const input of fieldset.querySelectorAll('input[type="radio"]')) {
      input.checked = input.value === precision;
      if (input.checked && input.closest(".kinds")) fieldset.querySelector(".kinds").open = true;
    }
  }

  // ---- memory and speed of one precision ----

  function drawOutlook(place, precision) {
    const memory = precision?.memory;
    place.hidden = !memory;
    if (!memory) return;
    const bar = place.querySelector(".memory-bar");
    const parts = place.querySelector(".memory-parts");
    bar.setAttribute("aria-label", [memory.sentence, ...memory.parts.map(named)].join(" "));
    bar.style.setProperty("--free", `${100 * memory.free_share}%`);
    bar.toggleAttribute("data-over", memory.free_share < 1);
    const now = JSON.stringify(memory.parts);
    if (parts.dataset.now !== now) {
      parts.dataset.now = now;
      parts.replaceChildren(...memory.parts.map(partOf));
      place.querySelector(".memory-list").replaceChildren(...memory.parts.map(listed));
    }
    setLine(place.querySelector(".need"), memory.sentence);
    setList(place.querySelector(".speed"), [...precision.speed, ...precision.measured]);
    place.querySelector(".speed-head").hidden = !precision.speed.length && !precision.measured.length;
  }

  const named = ({ name, size }) => `${name}: ${size}.`;

  function partOf({ kind, share }) {
    const part = document.createElement("span");
    part.dataset.kind = kind;
    part.style.width = `${100 * share}%`;
    return part;
  }

  function listed({ kind, name, size }) {
    const item = document.createElement("li");
    item.dataset.kind = kind;
    item.append(ui.element("span", name), ui.element("span", size));
    return item;
  }

  // ---- the model that is loaded, or being loaded ----

  function drawNow(place, now) {
    const loading = now.loading;
    place.dataset.phase = loading ? "loading" : now.phase;
    setText(place.querySelector(".now-name"), loading ? ui.text("model.loading", { name: loading.name }) : now.label);
    setText(place.querySelector(".now-stage"), loading ? loading.sentence : "");
    const facts = now.phase === "ready" ? [now.facts, ...now.loaded] : [now.state];
    setList(place.querySelector(".now-facts"), loading ? [] : facts);
    const bar = place.querySelector("progress");
    bar.hidden = !loading;
    if (loading?.share == null) bar.removeAttribute("value");
    else bar.value = loading.share;
    const status = loading ? `${loading.stage}…` : now.state;
    setText(place.querySelector('[role="status"]'), status);
    // It never gets smaller: what is below stays where the person is looking.
    place.style.minHeight = `${place.offsetHeight}px`;
  }

  ui.card = { drawHead, drawContexts, drawRows, check, drawOutlook, drawNow, setLine };
})();

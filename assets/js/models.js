// The panel "Model" (ui/panels/model.py): what is picked, what the server is asked (ui/model_server.py), and
// when a model is loaded. The server's model comes with every pulse; another page may change it, too.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.models) return;

  const AGAIN_MS = 3000;
  const AGAIN = 20;
  const ARROW_MS = 700;
  const BUSY = ui.text("model.busy");

  let island = null;
  let place = null;
  let picker = null;
  const at = (selector) => place.querySelector(selector);

  let present = null; // the server's model, of the newest pulse
  let settled = -1; // its revision that the panel has taken over
  let picked = { id: "", label: "" }; // the model that the panel shows
  let precision = ""; // and in which precision
  let context = null; // tokens; null for the usual ones
  let card = null; // of the picked model; null until it has come
  let isAhead = false; // something else is picked than the server's model
  let awaited = null; // what this page has asked to load
  let isStale = true; // the card is of an earlier moment
  let isVisible = false;
  let pending = null; // the choice whose first card is on its way
  let cards = 0; // cards asked for
  let looks = 0; // more of them while the server measures this machine's speed

  // ---- the server ----

  async function ask(name, given = {}) {
    try {
      return (await island.server[name](given)) ?? {};
    } catch {
      return { error: ui.awayText("page.away_undone") };
    }
  }

  // Strangers get the model as it is; the pulse tells who may change it.
  const isFixed = () => !(present?.may_change ?? !island.props.value.is_fixed);
  const token = () => at("#hub-token").value;

  // Gives the card's error, or null. Answers that come late are dropped.
  async function fetchCard(secret = "") {
    const number = ++cards;
    isStale = false;
    place.setAttribute("aria-busy", "true");
    const given = { model: picked.id, context, token: secret };
    const answer = await (isFixed() ? ask("present_card", { context }) : ask("any_card", given));
    if (number !== cards) return null;
    place.removeAttribute("aria-busy");
    if (answer.error) return answer;
    card = answer.card;
    // The server's own name of it: a path may have come with ~, or through a link.
    picked = { id: card.id, label: card.label };
    picker.show(picked);
    draw();
    if (card.needs_token) showToken();
    lookAgainSoon();
    return null;
  }

  // The first card of all comes before this machine's speed was measured.
  function lookAgainSoon() {
    const number = cards;
    looks = card.is_partial ? looks + 1 : 0;
    if (!looks || looks > AGAIN) return;
    setTimeout(() => {
      if (number !== cards) return;
      isStale = true;
      refresh();
    }, AGAIN_MS);
  }

  // Of another model from now on: what is on its way comes too late.
  function forgetCard() {
    card = null;
    cards += 1;
    isStale = true;
  }

  // Only what is seen: a closed panel asks for nothing. While `pick` asks, nobody
  // else does: it says why there is no card, and puts back what was there.
  async function refresh() {
    if (!isStale || !isVisible || !picked.id || pending) return;
    const failed = await fetchCard();
    if (failed && isPresent()) say(failed.error);
  }

  // ---- choosing ----

  async function pick(choice) {
    const before = { picked, precision, card, isAhead };
    say("");
    picked = choice;
    isAhead = !isPresent();
    forgetCard();
    forgetToken();
    if (isPresent()) precision = present.precision;
    draw();
    pending = choice;
    const failed = await fetchCard();
    if (pending === choice) pending = null;
    if (failed) {
      refuse(failed);
      if (!failed.is_access && picked === choice) putBack(before);
      return;
    }
    if (card && picked.id === choice.id) {
      if (isAhead) precision = likeliest();
      draw();
      loadIfEnough();
    }
    refresh(); // the server's model may have changed meanwhile
  }

  function putBack(before) {
    ({ picked, precision, card, isAhead } = before);
    if (!isAhead && !isPresent()) return takeOver(); // it has changed meanwhile
    isStale ||= !card; // it was on its way still
    picker.show(picked);
    draw();
    return refresh();
  }

  // The precision that was chosen before, if it can be had; else what fits.
  function likeliest() {
    const able = card.precisions.filter((one) => !one.reason);
    const fitting = able.filter((one) => one.verdict !== "no");
    const named = (id) => fitting.find((one) => one.id === id);
    return (named(precision) ?? named(card.suggested) ?? fitting[0] ?? able[0])?.id ?? precision;
  }

  let arrowAt = -1000;
  let arrowTimer = 0;

  function pickPrecision(name) {
    say("");
    precision = name;
    isAhead = !isLoaded();
    draw();
    clearTimeout(arrowTimer);
    // Who walks through the list with the arrows has not chosen yet.
    if (performance.now() - arrowAt < 100) arrowTimer = setTimeout(loadIfEnough, ARROW_MS);
    else loadIfEnough();
  }

  document.addEventListener("keydown", (event) => {
    if (event.key.startsWith("Arrow") && event.target.type === "radio") arrowAt = performance.now();
  }, true);

  // What is here and fits is loaded by choosing it. Before its card has come only the server's own model
  // is known to be here.
  function loadIfEnough() {
    const isEnough = card ? row()?.action.is_enough : isPresent();
    if (isEnough && !isLoaded()) load();
  }

  async function load() {
    if (awaited || present?.loading) {
      say(BUSY);
      return;
    }
    awaited = { model: picked.id, precision };
    drawButtons();
    const secret = token();
    forgetToken();
    const answer = await ask("switch_model", {
      model: picked.id, precision, token: secret, anyway: Boolean(row()?.action.is_anyway),
    });
    if (!answer.error && isLoaded()) awaited = null; // it was there already, and nothing changes
    if (answer.error) {
      awaited = null;
      refuse(answer);
      if (isPresent()) takeOver();
    }
    draw();
    ui.pulse();
  }

  function refuse({ error, is_access: isAccess }) {
    say(error);
    if (isAccess) showToken();
  }

  const isPresent = () => picked.id === present?.model;
  const isLoaded = () => isPresent() && precision === present.precision && present.phase === "ready";
  const row = () => card?.precisions.find((one) => one.id === precision);

  // ---- the server's model has changed ----

  function show(now) {
    if (!place) return;
    present = now;
    fix();
    ui.card.drawNow(at(".model-now"), now);
    ui.login.draw(at(".login"), now, island.props.value.login);
    if (!picked.id) takeOver();
    else if (now.is_settled && settled !== now.revision) settle(now);
    if (now.is_settled) settled = now.revision;
    drawButtons();
  }

  function settle(now) {
    const failed = awaited !== null && (now.model !== awaited.model || now.precision !== awaited.precision);
    awaited = null;
    isStale = true;
    if (failed && !isPresent()) {
      isAhead = true; // it can be tried again, with a token or another precision
      say(now.error);
    } else if (!isAhead || isPresent()) {
      takeOver();
    }
    refresh();
  }

  function takeOver() {
    if (!isPresent()) forgetCard();
    picked = { id: present.model, label: present.label };
    precision = present.precision;
    isAhead = false;
    picker.show(picked);
    draw();
    refresh();
  }

  // ---- drawing ----

  function draw() {
    if (card) {
      ui.card.drawHead(place, card);
      ui.card.drawContexts(at("#model-context"), card);
    }
    const known = island.props.value.precisions.map((id) => ({ id, label: ui.text(`precision.${id}`) }));
    ui.card.drawRows(at("#precision"), card?.precisions ?? known);
    ui.card.check(at("#precision"), precision);
    ui.card.drawOutlook(at(".outlook"), row());
    at(".model-card").toggleAttribute("data-waiting", !card);
    drawButtons();
  }

  function drawButtons() {
    const loading = present?.loading;
    swap(at("#cancel-load"), Boolean(loading) && !isFixed());
    setOff(at("#cancel-load"), Boolean(loading?.is_cancelled));
    swap(at("#unload"), !loading && present?.phase === "ready" && !isFixed());
    const action = row()?.action;
    const isWanted = Boolean(action) && !isLoaded() && !row().reason && !isFixed();
    swap(at("#load-model"), isWanted);
    setOff(at("#load-model"), Boolean(loading) || awaited !== null);
    if (action) ui.setText(at("#load-model"), action.label);
    if (!at(".token").open) at(".token").hidden = !isWanted || action.is_enough;
  }

  // One that is disabled in earnest would lose the keyboard's focus.
  const setOff = (button, isOff) => button.setAttribute("aria-disabled", String(isOff));

  // A button that goes must not take the keyboard's focus with it.
  function swap(button, isShown) {
    if (button.hidden === !isShown) return;
    if (!isShown && document.activeElement === button) at(".model-now").focus();
    button.hidden = !isShown;
  }

  function showToken() {
    at(".token").hidden = false;
    at(".token").open = true;
  }

  function forgetToken() {
    at("#hub-token").value = "";
    at(".token").open = false;
  }

  function say(sentence) {
    ui.card.setLine(at(".model-message"), sentence);
  }

  // ---- the island ----

  function mount(given) {
    island = given;
    place = document.getElementById("model-panel");
    picker = ui.makePicker({
      place: at(".picker"),
      choices: () => ask("model_choices"),
      search: (text) => ask("search_models", { text }),
      pick,
    });
    fix();
    showLeaderboards();
    listen();
    // A panel that is closed, or scrolled away, is not drawn at once.
    new IntersectionObserver((seen) => {
      isVisible = seen.at(-1).isIntersecting;
      refresh();
    }).observe(place);
    ui.pulse();
  }

  function fix() {
    picker.disable(isFixed());
    at("#precision").disabled = isFixed();
    at(".leaderboards").hidden = isFixed();
  }

  function showLeaderboards() {
    const links = island.props.value.leaderboards.map(([name, url, title]) => {
      const link = ui.element("a", name);
      Object.assign(link, { href: url, title, target: "_blank", rel: "noopener noreferrer" });
      return link;
    });
    at(".leaderboards").replaceChildren(`${ui.text("model.compare")} `, ...links.flatMap((link, n) => (n ? [", ", link] : [link])));
  }

  function listen() {
    at("#precision").addEventListener("change", (event) => pickPrecision(event.target.value));
    at("#model-context").addEventListener("change", (event) => {
      context = Number(event.target.value);
      fetchCard(token()).then((failed) => failed && refuse(failed));
    });
    at("#load-model").addEventListener("click", load);
    at("#cancel-load").addEventListener("click", () => tell("cancel_load"));
    at("#unload").addEventListener("click", () => tell("unload_model"));
    ui.login.listen(at("#log-out"), say);
    at("#use-token").addEventListener("click", lookAgain);
    at("#hub-token").addEventListener("keydown", (event) => {
      if (event.key === "Enter") lookAgain();
    });
  }

  async function tell(name) {
    const answer = await ask(name);
    say(answer.error);
    ui.pulse();
  }

  async function lookAgain() {
    say("");
    const failed = await fetchCard(token());
    if (failed) return refuse(failed);
    if (isAhead) precision = likeliest();
    return draw();
  }

  ui.models = { mount, show };
})();

// The model picker: a text box with a list below it, after the combobox pattern of the ARIA Authoring
// Practices. The keyboard's focus stays in the box; `aria-activedescendant` says which option it is at.
// It knows options and texts, and nothing of what a model is or what is done with one.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.makePicker) return;

  const SEARCH_FROM = 3; // letters: fewer find anything
  const SEARCH_AFTER_MS = 400;
  const AGAIN_MS = 1500; // while the server still forecasts some of the models
  const AGAIN = 8; // times, at most
  const NONE = ui.text("model.not_found");
  const SEARCHING = ui.text("model.searching");
  let made = 0; // options so far: each needs an id

  // place: the picker's HTML. choices() and search(text) ask the server; pick({id, label}) is told.
  ui.makePicker = ({ place, choices, search, pick }) => {
    const box = place.querySelector("input");
    const popup = place.querySelector(".picker-popup");
    const list = place.querySelector('[role="listbox"]');
    const line = place.querySelector(".picker-line");
    const typedGroup = part(), known = part(), hub = part();
    list.append(typedGroup, known, hub);

    let shown = { id: "", label: "" }; // what is chosen
    let isTyping = false; // else the whole list is shown
    let active = null;
    let groups = ""; // the known ones, as JSON
    let fetched = null; // a promise of them
    let searches = 0;
    let searchTimer = 0;

    const isOpen = () => !popup.hidden;
    const typed = () => (isTyping ? box.value.trim() : "");
    const all = () => [...list.querySelectorAll('[role="option"]')];
    const visible = () => all().filter((one) => !one.hidden);

    // ---- opening and closing ----

    function open() {
      if (isOpen() || box.disabled) return;
      if (!isTyping) box.select(); // what is typed now stands alone
      popup.hidden = false;
      box.setAttribute("aria-expanded", "true");
      filter();
      fetched = fetchChoices();
    }

    function close() {
      popup.hidden = true;
      box.setAttribute("aria-expanded", "false");
      isTyping = false;
      box.value = shown.label;
      clearTimeout(searchTimer);
      searches += 1; // what is on its way comes too late
      hub.replaceChildren();
      activate(null);
    }

    // Who is quicker than the list means what it is going to find.
    async function take() {
      if (!groups) await fetched;
      if (isOpen() && active) choose(active);
    }

    function choose(option) {
      const chosen = { id: option.dataset.id, label: option.dataset.label };
      show(chosen);
      close();
      pick(chosen);
    }

    function show(now) {
      shown = now;
      if (!isTyping) box.value = now.label;
      box.title = now.label === now.id ? now.id : `${now.label}\n${now.id}`;
      for (const one of all()) one.setAttribute("aria-selected", String(one.dataset.id === now.id));
    }

    // ---- what the list holds ----

    async function fetchChoices(times = AGAIN) {
      if (!groups) say(ui.text("model.looking"));
      const answer = await choices();
      if (answer.error) return say(answer.error);
      if (!groups) say("");
      if (answer.is_pending && times) {
        setTimeout(() => isOpen() && fetchChoices(times - 1), AGAIN_MS);
      }
      return showChoices(answer.groups);
    }

    function showChoices(found) {
      const now = JSON.stringify(found);
      if (now === groups) return;
      const id = groups && active?.dataset.id;
      groups = now;
      known.replaceChildren(...found.map(group));
      if (!isOpen()) return;
      filter();
      const again = visible().find((one) => one.dataset.id === id);
      if (again) activate(again); // where the person was
    }

    function filter() {
      const words = typed().toLowerCase().split(/\s+/).filter(Boolean);
      for (const one of known.querySelectorAll('[role="option"]')) {
        one.hidden = !words.every((word) => one.dataset.words.includes(word));
      }
      for (const one of known.children) {
        one.hidden = !one.querySelector('[role="option"]:not([hidden])');
      }
      typedGroup.replaceChildren(); // it is no name to be found
      const exact = typed() && all().find((one) => isNamed(one, typed()));
      typedGroup.replaceChildren(...(typed() && !exact ? [typedOption(typed())] : []));
      activate(exact || first());
    }

    // Enter takes what is likeliest: a path or an id as it stands, else what the words have found.
    function first() {
      if (!typed()) return all().find((one) => one.dataset.id === shown.id) ?? null;
      const [own, ...found] = visible();
      return /^[~.]|[/\\]/.test(typed()) ? own : (found[0] ?? own);
    }

    const isNamed = (one, text) =>
      [one.dataset.id, one.dataset.label].some((name) => name.toLowerCase() === text.toLowerCase());

    function searchSoon() {
      clearTimeout(searchTimer);
      const number = ++searches;
      hub.replaceChildren();
      if (typed().length < SEARCH_FROM) return say("");
      say(SEARCHING);
      searchTimer = setTimeout(async () => {
        const answer = await search(typed());
        if (number !== searches) return;
        say(answer.error ?? (answer.options.length || visible().length > 1 ? "" : NONE));
        const others = (answer.options ?? []).filter((found) => !isHere(found.id));
        if (others.length) hub.replaceChildren(group({ title: ui.text("model.on_hub"), options: others }));
        if (!active?.isConnected) activate(first());
      }, SEARCH_AFTER_MS);
      return undefined;
    }

    const isHere = (id) =>
      [...known.querySelectorAll('[role="option"]')].some((one) => one.dataset.id === id);

    function say(text) {
      line.hidden = !text;
      ui.setText(line, text);
    }

    // ---- options ----

    function group({ title, options }) {
      const made = document.createElement("div");
      const head = ui.element("p", title);
      head.setAttribute("role", "presentation");
      head.className = "picker-head";
      made.setAttribute("role", "group");
      made.setAttribute("aria-label", title);
      made.append(head, ...options.map(option));
      return made;
    }

    function option({ id, label, size, tags, is_gated: isGated, popularity, verdict, word }) {
      const name = span("option-name", label);
      const details = [size, ...tags, popularity].filter(Boolean).join(" · ");
      const one = optionOf({ id, label }, name, span("option-facts", details));
      if (isGated) {
        const lock = span("lock", ui.text("model.gated"));
        lock.title = ui.text("model.gated_note");
        name.append(" ", lock);
      }
      if (word) one.append(ui.verdict({ verdict, word }));
      one.dataset.words = [label, id, ...tags].join(" ").toLowerCase();
      one.title = id;
      return one;
    }

    const typedOption = (text) =>
      optionOf({ id: text, label: text }, span("option-name", ui.text("model.use", { name: text })));

    function optionOf({ id, label }, ...content) {
      const one = document.createElement("div");
      one.setAttribute("role", "option");
      one.setAttribute("aria-selected", String(id === shown.id));
      one.id = `model-option-${++made}`;
      Object.assign(one.dataset, { id, label });
      one.append(...content);
      return one;
    }

    function activate(option) {
      active?.classList.remove("active");
      active = option ?? null;
      active?.classList.add("active");
      if (!active) return box.removeAttribute("aria-activedescendant");
      box.setAttribute("aria-activedescendant", active.id);
      return active.scrollIntoView({ block: "nearest" });
    }

    function move(step) {
      const options = visible();
      if (!options.length) return;
      const at = options.indexOf(active);
      const next = at < 0 ? (step > 0 ? 0 : options.length - 1) : at + step;
      activate(options[(next + options.length) % options.length]);
    }

    // ---- the keyboard, the pointer ----

    const KEYS = {
      ArrowDown: () => (isOpen() ? move(1) : open()),
      ArrowUp: () => (isOpen() ? move(-1) : open()),
      Enter: () => (isOpen() ? take() : open()),
      Escape: () => { close(); box.select(); },
    };

    box.addEventListener("keydown", (event) => {
      const act = KEYS[event.key];
      if (!act || event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape" && !isOpen()) return;
      event.preventDefault();
      act();
    });

    box.addEventListener("input", () => {
      isTyping = true;
      if (isOpen()) filter();
      else open();
      searchSoon();
    });

    box.addEventListener("click", open);

    box.addEventListener("blur", close);
    // A press on the list must not take the focus from the box, which would close the list.
    popup.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest('[role="option"]');
      if (option) choose(option);
    });

    return { show, disable: (isOff) => { box.disabled = isOff; } };
  };

  function part() {
    const made = document.createElement("div");
    made.setAttribute("role", "presentation");
    return made;
  }

  function span(name, text) {
    const made = ui.element("span", text);
    made.className = name;
    return made;
  }

  // A dot and its word: the colour alone says nothing.
  ui.verdict = ({ verdict, word }) => {
    const made = span("verdict", word);
    made.dataset.verdict = verdict;
    return made;
  };
})();

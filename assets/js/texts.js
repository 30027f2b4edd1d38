// The page's texts in the visitor's language (ui/texts.py). It is the first of the scripts, so that the others
// may ask it from the start.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.text) return;

  const texts = JSON.parse(document.getElementById("chat-ui-texts").textContent);
  // Gradio has chosen one by now, and says so there; of those that we don't have its components are in English.
  const chosen = document.documentElement.lang.split("-")[0];
  const language = Object.hasOwn(texts, chosen) ? chosen : "en";
  document.documentElement.lang = language === "zh" ? "zh-Hans" : language;
  const mine = texts[language];
  const plural = new Intl.PluralRules(language);

  // A text with its places filled; where a count decides, it is places.count.
  function text(key, places = {}) {
    let found = mine[key] ?? key;
    if (typeof found === "object") found = found[plural.select(places.count)] ?? found.other;
    return found.replace(/\{(\w+)\}/g, (_, place) => {
      const value = places[place];
      return typeof value === "number" ? value.toLocaleString(language) : value;
    });
  }

  const ATTRIBUTES = { textLabel: "aria-label", textTitle: "title", textPlaceholder: "placeholder" };

  // Fixed HTML names its texts: data-text="key", data-text-label="key" and so on; data-count="2" fills {count}.
  function fillTexts(place) {
    for (const one of place.querySelectorAll("[data-text]")) one.textContent = text(one.dataset.text, one.dataset);
    for (const [data, attribute] of Object.entries(ATTRIBUTES)) {
      const marked = `[data-text-${data.slice(4).toLowerCase()}]`;
      for (const one of place.querySelectorAll(marked)) one.setAttribute(attribute, text(one.dataset[data]));
    }
  }

  const english = (key) => texts.en[key];

  Object.assign(ui, { text, english, fillTexts });
})();

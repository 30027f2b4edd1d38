// The owner's login in the panel "Model", where a Space has one (web/login.py). Only the Space's own window can be
// the owner's: in a frame of huggingface.co the cookie isn't sent.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.login) return;

  ui.login = {
    // place: its line; now: the model of a pulse; address: where one logs in, "" where there is no login.
    draw(place, { may_change: mayChange, login }, address) {
      const link = place.querySelector("a");
      const button = place.querySelector("button");
      place.hidden = !address || (mayChange && !login); // the owner's link does as well
      const isLeaving = !login && document.activeElement === button;
      Object.assign(link, { href: address, target: window.top === window ? "_self" : "_blank" });
      link.hidden = mayChange;
      ui.setText(place.querySelector("span"), login ? ui.text("model.logged_in", { name: login }) : "");
      button.hidden = !login;
      if (isLeaving) link.focus(); // a button that goes must not take the keyboard's focus with it
    },

    listen(button, say) {
      button.addEventListener("click", async () => {
        const answer = await fetch("logout", { method: "POST" }).catch(() => null);
        say(answer?.ok ? "" : ui.text("page.away_undone"));
        ui.pulse();
      });
    },
  };
})();

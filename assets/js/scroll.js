// Scrolling goes with the answer until the reader goes back. Gradio's own takes the reader to the end again
// at every update: with it, nobody can read back while an answer is written.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.scroll) return;

  let log = null;
  let sticks = true;
  let top = 0;

  const isNearEnd = () => log.scrollHeight - log.clientHeight - log.scrollTop < 48;

  function toEnd() {
    if (log && sticks) log.scrollTop = log.scrollHeight;
  }

  function onScroll() {
    if (log.scrollTop < top - 2 && !isNearEnd()) sticks = false;
    else if (isNearEnd()) sticks = true;
    top = log.scrollTop;
  }

  // Gradio draws the log anew now and then: called again and again, it does its work once for each.
  function hook() {
    const found = document.querySelector('#chat [role="log"]');
    if (!found || found === log) return;
    log = found;
    sticks = true;
    log.tabIndex = 0; // so that keys scroll it, too
    log.setAttribute("aria-live", "off"); // announce.js reads the answers out
    const leave = () => { sticks = false; };
    log.addEventListener("wheel", (event) => { if (event.deltaY < 0) leave(); }, { passive: true });
    log.addEventListener("touchmove", leave, { passive: true });
    log.addEventListener("keydown", (event) => {
      if (["ArrowUp", "PageUp", "Home"].includes(event.key)) leave();
    });
    log.addEventListener("scroll", onScroll, { passive: true });
    new MutationObserver(toEnd).observe(log, { subtree: true, childList: true, characterData: true });
    new ResizeObserver(toEnd).observe(log);
    toEnd();
  }

  // Earlier messages come in above: what was read stays where it was.
  function keepPlace() {
    if (!log) return;
    sticks = false;
    const fromEnd = log.scrollHeight - log.scrollTop;
    const observer = new MutationObserver(() => { log.scrollTop = log.scrollHeight - fromEnd; });
    observer.observe(log, { subtree: true, childList: true });
    setTimeout(() => observer.disconnect(), 1500);
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#earlier")) keepPlace();
  });

  // What comes in its place is of another length: where one looks, one goes on looking.
  function hold(place) {
    if (!log || !place) return;
    sticks = false;
    const top = place.getBoundingClientRect().top;
    const observer = new MutationObserver(() => {
      if (place.isConnected) log.scrollTop += place.getBoundingClientRect().top - top;
    });
    observer.observe(log, { subtree: true, childList: true, characterData: true });
    setTimeout(() => observer.disconnect(), 1500);
  }

  ui.scroll = { hook, hold, stick() { sticks = true; toEnd(); } };
})();

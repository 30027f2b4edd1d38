// Where the browser refuses this page's cookie, in a frame for example, the server gives this page a token of its
// own. It goes with each request that asks for something of a visitor's, is kept nowhere, and ends with the page.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.session) return;

  const fetched = window.fetch.bind(window);
  const session = { isKept: true, isFull: false };

  // Before anything else is asked for: who asks without it is a stranger. A server that does not answer this does
  // not answer the rest either, which says so by itself.
  const known = ask().then(({ is_kept: isKept, token }) => {
    Object.assign(session, { isKept, token, isFull: false });
    if (!isKept) tell();
  });

  // Where many come at once, or the owner has closed it for now, the server says when to ask again.
  async function ask() {
    for (;;) {
      const answer = await fetched("/session", { credentials: "same-origin" }).catch(() => null);
      if (answer?.ok) return answer.json();
      if (![429, 503].includes(answer?.status)) return { is_kept: true };
      session.isFull = true; // the pulse tells it
      const seconds = Number(answer.headers.get("retry-after")) || 10;
      await new Promise((later) => { setTimeout(later, 1000 * seconds); });
    }
  }

  window.fetch = async (input, options = {}) => {
    const method = options.method ?? input.method ?? "GET";
    const address = new URL(input.url ?? input, location.href);
    if (method === "GET" || address.origin !== location.origin) return fetched(input, options);
    await known;
    if (session.isKept) return fetched(input, options);
    const headers = new Headers(options.headers ?? input.headers);
    headers.set("X-Chat-UI-Session", session.token);
    return fetched(input, { ...options, headers });
  };

  function tell() {
    const note = document.getElementById("not-kept");
    if (note) note.hidden = false;
    else setTimeout(tell, 200); // Gradio puts the page together later
  }

  ui.session = session;
})();

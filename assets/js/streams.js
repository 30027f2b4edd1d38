// Gradio's client opens a stream for the events that it asks for, and no second one while it holds that for open.
// What the server ends may still be on its way then: an event asked for just before it arrives would be brought by
// no stream, and its end never come. So the streams are numbered, the answer to each event says which of them had
// ended (web/posts.py), and Gradio's client gets that answer once it knows that end itself.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.streams) return;

  // Who does not hear of it for so long has a dead connection, and gets nothing before it is a new page.
  const KNOWN_MS = 15000;

  const streams = (ui.streams = { newest: 0 });
  let known = Promise.resolve(); // that the newest has ended

  const late = () => new Promise((go) => { setTimeout(go, KNOWN_MS); });

  const fetched = window.fetch;
  window.fetch = async (...args) => {
    const [request] = args;
    const [, asked] = /\/gradio_api\/queue\/(join|data)\b/.exec(String(request?.url ?? request)) ?? [];
    if (asked === "data" && request instanceof Request) {
      streams.newest += 1;
      request.headers.set("X-Chat-UI-Stream", streams.newest);
      // It takes leave of each stream in this way, of one that has ended, too.
      known = new Promise((go) => { request.signal.addEventListener("abort", go, { once: true }); });
    }
    const answer = await fetched(...args);
    const ended = Number(answer.headers.get("X-Chat-UI-Stream-Ended"));
    if (asked === "join" && ended && ended === streams.newest) await Promise.race([known, late()]);
    return answer;
  };
})();

// Gradio's client opens a stream for the events that it asks for, and no second one while it takes the first for
// open. The server may have ended that already, and the news be still on its way: an event that is accepted just
// then would be brought by no stream, and the page wait for ever. So the page numbers its streams, the answer to each
// event says which of them the server has ended (web/posts.py), and Gradio's client gets that answer only when it
// has closed the same stream itself.
(() => {
  "use strict";
  const ui = (window.chatUI ??= {});
  if (ui.streams) return;

  // An end that takes longer to arrive never will: the connection is dead. So nothing waits for ever here.
  const END_ARRIVES_MS = 15000;

  const streams = (ui.streams = { newest: 0 });
  let newestClosed = Promise.resolve(); // by Gradio's client

  const deadline = () => new Promise((go) => { setTimeout(go, END_ARRIVES_MS); });

  const fetched = window.fetch;
  window.fetch = async (...args) => {
    const [request] = args;
    const [, asked] = /\/gradio_api\/queue\/(join|data)\b/.exec(String(request?.url ?? request)) ?? [];
    if (asked === "data" && request instanceof Request) {
      streams.newest += 1;
      request.headers.set("X-Chat-UI-Stream", streams.newest);
      // The client closes every stream by aborting it, one that the server has ended, too.
      newestClosed = new Promise((go) => { request.signal.addEventListener("abort", go, { once: true }); });
    }
    const answer = await fetched(...args);
    const ended = Number(answer.headers.get("X-Chat-UI-Stream-Ended"));
    if (asked === "join" && ended && ended === streams.newest) await Promise.race([newestClosed, deadline()]);
    return answer;
  };
})();

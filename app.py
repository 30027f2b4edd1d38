"""chat_ui: chat with a transformers model in the browser. Builds the parts and puts them together.

`python app.py` serves. `from app import demo` gives the page alone: nothing is read, opened or
loaded before its first visitor, but for the model on ZeroGPU.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from chat_ui.errors import ChatUIError
from chat_ui.settings import Settings, read
from chat_ui.web import logs

if TYPE_CHECKING:
    import gradio as gr

    from chat_ui.service import ChatService, Instruments, LoadEngine
    from chat_ui.web.hosts import Hosts
    from chat_ui.web.key import Keys


@dataclass(frozen=True, slots=True)
class App:
    """The whole app, built and not started. `demo.launch()` serves it."""

    demo: "gr.Blocks"
    service: "ChatService"
    hosts: "Hosts"
    keys: "Keys"


def make_app(
    settings: Settings,
    load: "LoadEngine | None" = None,
    instruments: "Instruments | None" = None,
) -> App:
    """Build everything from the settings; start nothing.

    Args:
        settings: the app's.
        load: loads a model, through transformers if None; tests give a fake.
        instruments: count models and measure this machine; the real ones if None.
    """
    # Not at the top: gradio takes seconds to import, and --help needs none of it.
    from chat_ui.service import ChatService, loader
    from chat_ui.ui import page, privacy, texts
    from chat_ui.web import server
    from chat_ui.web.hosts import Hosts
    from chat_ui.web.key import Keys

    hosts, keys = Hosts.of(settings), Keys.of(settings)
    service = ChatService(settings, load or loader(settings), instruments)
    demo = page.build_page(service)
    policy = privacy.policy_page(settings)
    options = page.launch_options() | server.launch_options(
        settings, service, hosts, keys, demo, policy, texts.texts_for
    )
    # Whoever launches the page gets the session cookie and the safe options with it.
    demo.launch = partial(demo.launch, **options)  # type: ignore[method-assign]
    return App(demo, service, hosts, keys)


def _read(argv: Sequence[str] = ()) -> Settings:
    settings = read(argv)
    if settings.is_public:
        logs.leave_out_texts()
    return settings


def main(
    argv: Sequence[str] | None = None,
    load: "LoadEngine | None" = None,
    instruments: "Instruments | None" = None,
) -> int:
    """Read the command line and serve until told to end; returns where that can't be begun."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = _read(sys.argv[1:] if argv is None else argv)
        from chat_ui.web import server

        port = server.free_port(settings)
        if settings.logs_events:
            from chat_ui.service import log_to_stderr

            log_to_stderr()
        app = make_app(settings, load, instruments)
        app.service.start()
        server.serve(app.demo, app.service, app.hosts, app.keys, port)
    except ChatUIError as error:
        sys.stderr.write(f"chat_ui can't start. {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
else:
    demo = make_app(_read()).demo

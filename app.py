"""chat_ui: chat with a transformers model in the browser. Builds the parts and puts them together.

`python app.py` serves. `from app import demo` gives the page alone: nothing is read, opened or
loaded before its first visitor.
"""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

# Gradio and the Hub's client read these when they are imported, and call home without them.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from chat_ui.errors import ChatUIError
from chat_ui.service import ChatService, LoadEngine, load_model
from chat_ui.settings import Settings, read
from chat_ui.ui import page
from chat_ui.web import server


@dataclass(frozen=True, slots=True)
class App:
    """The whole app, built and not started. `demo.launch()` serves it."""

    demo: gr.Blocks
    service: ChatService


def make_app(settings: Settings, load: LoadEngine = load_model) -> App:
    """Build everything from the settings; start nothing.

    Args:
        settings: the app's.
        load: loads a model; tests give a fake.
    """
    service = ChatService(settings, load)
    demo = page.build_page(service)
    options = page.launch_options() | server.launch_options(settings, service)
    # Whoever launches the page gets the session cookie and the safe options with it.
    demo.launch = partial(demo.launch, **options)  # type: ignore[method-assign]
    return App(demo, service)


def main(argv: Sequence[str] | None = None, load: LoadEngine = load_model) -> int:
    """Read the command line, serve until told to end, and return the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = read(sys.argv[1:] if argv is None else argv)
        port = server.free_port(settings)
        app = make_app(settings, load)
        app.service.start()
        return server.serve(app.demo, app.service, port)
    except ChatUIError as error:
        sys.stderr.write(f"chat_ui can't start. {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
else:
    demo = make_app(read()).demo

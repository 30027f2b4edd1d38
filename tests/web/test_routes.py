"""Gradio's routes, one by one: an upgrade that brings another one is noticed here.

To take a new list, after having looked at what came: `python -m tests.web.test_routes`.
"""

import re
from pathlib import Path
from typing import Any

import pytest
from gradio.routes import App
from starlette.testclient import TestClient

from app import make_app
from chat_ui.settings import Settings
from chat_ui.web.guard import ROUTES
from tests.service.instruments import FakeInstruments

LIST = Path(__file__).with_name("gradio_routes.txt")


def routes_of(router: Any) -> list[tuple[str, str]]:
    """Method and path of each route, those of included routers, too."""
    found: list[tuple[str, str]] = []
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            found += routes_of(included)
        else:
            found += [(method, route.path) for method in sorted(route.methods)]
    return sorted(set(found))


def asked(path: str) -> str:
    """The path with something in place of each parameter."""
    return re.sub(r"\{[^}]+\}", "x", path)


def is_allowed(method: str, path: str) -> bool:
    return any(method in methods and found.fullmatch(asked(path)) for methods, found in ROUTES)


def lines(folder: Path) -> list[str]:
    made = make_app(Settings(data_dir=folder), instruments=FakeInstruments())
    return [
        f"{'allowed' if is_allowed(method, path) else 'refused'} {method} {path}"
        for method, path in routes_of(App.create_app(made.demo))
    ]


def test_gradio_has_the_routes_that_were_looked_at(tmp_path: Path) -> None:
    assert lines(tmp_path) == LIST.read_text("utf-8").splitlines()


def test_a_preflight_of_another_page_is_refused_before_gradio_allows_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, door="space", space_host="some-one.hf.space")
    launch: Any = make_app(settings, instruments=FakeInstruments()).demo.launch
    demo = launch.func.__self__
    app = App.create_app(demo, app_kwargs=launch.keywords["app_kwargs"])
    asked = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-chat-ui-session",
    }
    with TestClient(app, base_url="https://some-one.hf.space") as browser:
        answer = browser.options("/gradio_api/queue/join", headers=asked)
    assert answer.status_code == 404
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "upload", "file=", "proxy=", "run/", "/api/", "call/", "deep_link", "monitoring", "login",
        "pwa_icon", "stream/", "vibe", "dev/reload", "heartbeat", "cancel", "reset", "run-history",
        "token", "info", "config", "process_recording", "custom_component",
    ],
)  # fmt: skip
def test_nothing_of_what_this_app_never_uses_is_allowed(path: str) -> None:
    concerned = [line for line in LIST.read_text("utf-8").splitlines() if path in line]
    assert concerned
    assert [line for line in concerned if line.startswith("allowed")] == []


if __name__ == "__main__":
    LIST.write_text("\n".join(lines(Path("unused"))) + "\n", "utf-8")

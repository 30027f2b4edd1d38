"""What the owner's dialog asks for: figures, the link, the stop switch; strangers are refused."""

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from chat_ui.service import Figures
from chat_ui.settings import Settings
from chat_ui.ui.owner_server import server_functions
from chat_ui.ui.page import ASSETS, build_page
from chat_ui.web import server
from chat_ui.web.entrance import Entrance, Link
from tests.ui.conftest import FakeService, on_this_thread, request_of

SECRET = "secret-key"
LINK = Link(f"https://a.gradio.live/?key={SECRET}", datetime(2026, 1, 2, tzinfo=UTC))
OWNER = request_of(is_owner=True)


@pytest.fixture
def entrance(tmp_path) -> Entrance:
    return Entrance(tmp_path)


@pytest.fixture
def ask(tmp_path, entrance):
    service: Any = FakeService(Settings(data_dir=tmp_path, door="share"))
    service.figures = lambda: Figures({"complete": 1_000, "failed": 234}, running=2, waiting=1)
    served: dict[str, Any] = {
        one.__name__: one for one in server_functions(service, entrance, on_this_thread)
    }

    def ask(name: str, given: Any, request: Any = OWNER) -> dict[str, Any]:
        return json.loads(json.dumps(asyncio.run(served[name](given, request))))

    return ask


def test_the_figures_are_told_in_the_owner_s_language(ask, entrance):
    entrance.visitors.see("somebody")
    told = ask("owner_figures", {}, request_of(is_owner=True, language="de"))
    values = dict(told["figures"])
    assert values["Besucher in den letzten 15 Minuten"] == "1"
    assert values["Antworten in Arbeit"] == "2 von 64"
    assert values["Wartende Antworten"] == "1 von 64"
    assert values["Antworten seit dem Start"] == "1.234"
    assert (told["link"], told["is_closed"]) == (None, False)


def test_the_link_comes_once_it_is_open(ask, entrance):
    entrance.link = LINK
    link = ask("owner_figures", {})["link"]
    assert (link["url"], link["ends_at"]) == (LINK.url, "2026-01-02T00:00:00+00:00")
    assert link["image"].startswith("data:image/svg+xml")
    entrance.link = Link("https://anna-chat.hf.space/")
    assert ask("owner_figures", {})["link"]["ends_at"] == ""


def test_where_no_link_could_be_opened_the_owner_is_told(ask, entrance, capsys):
    assert ask("owner_figures", {})["has_no_tunnel"] is False
    server._say_no_link("No public link could be opened: x.", entrance)
    assert ask("owner_figures", {})["has_no_tunnel"] is True
    assert "The page is served on this machine." in capsys.readouterr().out


def test_the_stop_switch_is_the_file_that_closes(ask, entrance, tmp_path):
    assert ask("set_closed", {"is_closed": True})["is_closed"] is True
    assert ask("set_closed", {"is_closed": True})["is_closed"] is True
    assert (tmp_path / "STOP").exists()
    assert ask("set_closed", {"is_closed": False})["is_closed"] is False
    assert ask("set_closed", {"is_closed": False})["is_closed"] is False
    assert not (tmp_path / "STOP").exists()


def test_where_the_file_can_not_be_made_the_owner_is_told(ask, tmp_path):
    (tmp_path / "STOP").mkdir()
    assert "can't be written or removed" in ask("set_closed", {"is_closed": False})["error"]


@pytest.mark.parametrize(
    "request_", [request_of(), request_of(owner=None, is_owner=True), request_of(owner=None)]
)
@pytest.mark.parametrize("given", [{}, {"is_closed": True}, {"is_owner": True}, None])
def test_a_stranger_is_refused_and_told_nothing(ask, entrance, tmp_path, request_, given):
    entrance.link = LINK
    for name in ("owner_figures", "set_closed"):
        answer = ask(name, given, request_)
        assert set(answer) == {"error", "is_access"}
        assert SECRET not in str(answer)
    assert not (tmp_path / "STOP").exists()


@pytest.mark.parametrize("given", [{}, {"is_closed": "yes"}, {"is_closed": 1}, {"closed": True}])
def test_what_is_no_switch_is_refused(ask, tmp_path, given):
    assert "error" in ask("set_closed", given)
    assert "error" in ask("owner_figures", {"is_closed": True})
    assert not (tmp_path / "STOP").exists()


def test_the_dialog_s_script_asks_for_functions_that_there_are(tmp_path, entrance):
    service: Any = FakeService(Settings(data_dir=tmp_path))
    script = (ASSETS / "js" / "owner.js").read_text("utf-8")
    served = {one.__name__ for one in server_functions(service, entrance, on_this_thread)}
    assert set(re.findall(r"island\.server\.(\w+)", script)) == served


def test_only_a_public_page_has_it(tmp_path, entrance):
    service: Any = FakeService(Settings(data_dir=tmp_path))
    for given, count in ((None, 0), (entrance, 1)):
        blocks = build_page(service, given).blocks.values()
        assert [block.elem_id for block in blocks].count("owner-island") == count

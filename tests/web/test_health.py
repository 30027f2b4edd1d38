"""The health check: open to everybody, so it says nothing that is not everybody's."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from chat_ui.limits import DOORS, LIMITS, Door
from chat_ui.service.stop_file import FILE_NAME
from chat_ui.settings import Settings
from chat_ui.web.health import health_route
from tests.ui.conftest import FakeService


@pytest.mark.parametrize("door", DOORS)
def test_strangers_are_not_told_where_a_model_lies(tmp_path: Path, door: Door) -> None:
    service: Any = FakeService(Settings(tmp_path, door=door, limits=LIMITS[door]))
    service.status = replace(service.status, model_id="/home/anna/models/Small", label="Small")
    with TestClient(Starlette(routes=[health_route(service)])) as client:
        answer = client.get("/healthz").json()
    assert answer["model"] == ("/home/anna/models/Small" if door == "local" else "Small")
    assert answer["status"] == "ok"
    assert answer["is_closed"] is False


@pytest.mark.parametrize("door", DOORS)
def test_a_page_can_ask_whether_the_owner_has_closed_it(tmp_path: Path, door: Door) -> None:
    service: Any = FakeService(Settings(tmp_path, door=door, limits=LIMITS[door]))
    (tmp_path / FILE_NAME).touch()
    with TestClient(Starlette(routes=[health_route(service)])) as client:
        answer = client.get("/healthz").json()
    assert (answer["status"], answer["is_closed"]) == ("ok", door != "local")

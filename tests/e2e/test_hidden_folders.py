"""Where the model lies, and on which machine, is told to nobody who comes through a public door."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_ui.models.hardware import machine_name
from chat_ui.models.memory import device_kind
from chat_ui.models.spec import BUILT_IN_FOLDER
from tests.e2e.conftest import Serve
from tests.e2e.test_strangers import Asked, begun, config_of, targets_of

HERE = "inner-4f1c"  # a part of the path that is in nothing else


@pytest.mark.parametrize("door", ["share", "space"])
def test_a_chat_with_a_model_of_a_folder_names_its_path_in_no_answer(
    serve: Serve, tmp_path: Path, door: str
) -> None:
    folder = tmp_path / HERE / "Small"
    shutil.copytree(BUILT_IN_FOLDER, folder)
    server = serve(
        "--door", door, "--public", "--model", str(folder), "--max-waiting-per-visitor", "4",
        environ={"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"},
    )  # fmt: skip
    server.wait_for(phase="ready")
    told: dict[str, str] = {}
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for path in ("/", "/privacy", "/healthz", "/session", "/theme.css", "/metrics", "/no"):
            told[path] = client.get(path).text
        if door == "space":  # its cookie comes by https only
            headers = {"x-chat-ui-session": httpx.get(f"{server.url}/session").json()["token"]}
            client.headers.update(headers)
        visitor, targets = Asked(server, client), targets_of(config_of(told["/"]))
        conversation, message = begun(visitor, targets)
        fields: dict[str, Any] = {
            "message_bars": {"conversation": conversation, "shown": 20},
            "pulse": {"conversation": conversation, "list": ""},
            "any_card": {"model": "Small"},
            "switch_model": {"model": "Small", "precision": "full"},
            "search_models": {"text": "Small"},
            "present_card": {},
        }  # fmt: skip
        one = {"conversation": conversation, "message": message}
        calls = [target for target in targets if target.path == "component_server"]
        for target in calls:
            if target.name in ("delete_conversation", "forget"):
                continue
            forms: list[Any] = [fields.get(target.name, one)]
            if target.name == "export_conversations":
                forms = [{"id": conversation, "form": form} for form in ("json", "markdown")]
            for form in forms:
                _, text = visitor.outcome(target, {**target.body, "data": form})
                told[f"{target.name} {form}"] = text
        for target in targets:
            if target not in calls and target.values == 2:  # following the chat
                body = {**target.body, "data": [conversation, 20]}
                told[target.name] = visitor.outcome(target, body)[1]
    pulse = json.loads(next(text for name, text in told.items() if name.startswith("pulse")))
    assert pulse["model"]["model"] == "Small"
    card = json.loads(next(text for name, text in told.items() if name.startswith("present_card")))
    assert card["card"]["machine"].startswith(("CPU · ", "GPU · "))
    assert [name for name, text in told.items() if "Small (" in text and "markdown" in name], told
    for name, text in told.items():
        assert HERE not in text, name
        assert str(tmp_path) not in text, name
        assert machine_name(device_kind()) not in text, name

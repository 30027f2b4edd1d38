"""Command line and environment: who beats whom, and what is refused."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_ui import settings as module
from chat_ui.errors import StartupError
from chat_ui.limits import DOORS, LIMITS, Limits
from chat_ui.models.quantization import PRECISIONS
from chat_ui.settings import read

NAMES = [one.name for one in fields(Limits)]
CAN_BE_OFF = [one.name for one in fields(Limits) if one.metadata["can_be_off"]]


def test_defaults_without_flags_and_environment() -> None:
    settings = read([], {})
    assert (settings.host, settings.port) == ("127.0.0.1", 7860)
    assert (settings.model, settings.precision) == ("pocket-guide", "full")
    assert settings.door == "local"
    assert not settings.model_is_fixed
    assert settings.data_dir.name == "chat_ui"


def test_the_hub_is_asked_for_strangers_only_where_the_owner_says_so() -> None:
    assert not read(["--door", "share"], {}).allows_hub
    assert read(["--allow-hub"], {}).allows_hub
    assert read([], {"CHAT_UI_ALLOW_HUB": "1"}).allows_hub


def test_flag_beats_own_variable_beats_gradios() -> None:
    environ = {
        "CHAT_UI_PORT": "2",
        "GRADIO_SERVER_PORT": "3",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "CHAT_UI_MODEL": "from-environment",
    }
    assert read(["--port", "1"], environ).port == 1
    assert read([], environ).port == 2
    assert read([], {"GRADIO_SERVER_PORT": "3"}).port == 3
    assert read([], environ).host == "0.0.0.0"
    assert read(["--host", "::1"], environ).host == "::1"
    assert read([], environ).model == "from-environment"
    assert read(["--model", "from-flag"], environ).model == "from-flag"


def test_events_are_logged_where_strangers_come() -> None:
    assert not read([], {}).logs_events
    assert read(["--share"], {}).logs_events
    assert not read(["--share", "--log", "off"], {}).logs_events
    assert read(["--log", "on"], {}).logs_events


def test_an_owner_s_key_is_hard_to_guess() -> None:
    assert read([], {"CHAT_UI_OWNER_KEY": "k" * 22}).owner_key == "k" * 22
    assert read([], {"CHAT_UI_OWNER_KEY": ""}).owner_key == ""
    for key in ("short", "k" * 21, "\u00e4" * 30, "k" * 22 + "\n"):
        with pytest.raises(StartupError, match="CHAT_UI_OWNER_KEY") as refused:
            read([], {"CHAT_UI_OWNER_KEY": key})
        assert key not in str(refused.value)


def test_every_flag_has_its_twin(tmp_path: Path) -> None:
    twins = {
        "CHAT_UI_HOST": "h",
        "CHAT_UI_PORT": "1234",
        "CHAT_UI_MODEL": "m",
        "CHAT_UI_PRECISION": "4bit",
        "CHAT_UI_DATA_DIR": str(tmp_path),
        "CHAT_UI_DRAFT_MODEL": "auto",
        "CHAT_UI_MODEL_MEMORY": "2.5",
        "CHAT_UI_UNLOAD_AFTER": "1.5",
        "CHAT_UI_SHARE": "1",
        "CHAT_UI_PUBLIC": "true",
        "CHAT_UI_LOG": "on",
        "CHAT_UI_DOOR": "share",
        "CHAT_UI_ALLOWED_HOSTS": "Chat.example.org, box",
    } | {f"CHAT_UI_MAX_{name.upper()}": "7" for name in NAMES}
    flags = ["--host", "h", "--port", "1234", "--model", "m", "--precision", "4bit"]
    flags += ["--data-dir", str(tmp_path), "--draft-model", "auto", "--model-memory", "2.5"]
    flags += ["--unload-after", "1.5", "--share", "--public", "--log", "on"]
    flags += ["--door", "share", "--allowed-hosts", "chat.example.org,box"]
    for name in NAMES:
        flags += [f"--max-{name.replace('_', '-')}", "7"]
    settings = read(flags, {})
    assert read([], twins) == settings
    assert settings.model_memory_bytes == 2_500_000_000
    assert settings.unload_after_s == 90.0
    assert settings.limits == Limits(**dict.fromkeys(NAMES, 7))
    assert settings.opens_tunnel
    assert settings.is_open
    assert settings.allowed_hosts == ("chat.example.org", "box")
    assert settings.draft_model == "auto"


def test_where_strangers_come_the_limits_are_tighter() -> None:
    at_home, shared = read([], {}), read(["--share"], {})
    assert (at_home.limits.replies_per_visitor, at_home.unload_after_s) == (4, 0)
    assert (shared.limits.replies_per_visitor, shared.unload_after_s) == (1, 1800)
    assert (at_home.orphan_grace_s, shared.orphan_grace_s) == (3600, 60)
    assert read([], {"SPACE_ID": "a/b"}).limits.replies_per_visitor == 1
    assert at_home.model_memory_bytes is None


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        *(("--max-replies", text) for text in ("0", "-1", "1.5", "many", "٣", "9" * 10)),
        ("--max-replies-per-visitor", "0"),
        *(("--model-memory", text) for text in ("0", "-1", "8GB", "nan", "inf")),
        *(("--unload-after", text) for text in ("-1", "soon", "nan", "inf")),
    ],
)
def test_a_limit_that_is_none_is_refused_with_its_flag(flag: str, text: str) -> None:
    with pytest.raises(StartupError, match=rf"^{flag} can't be .* Give a (whole )?number"):
        read([f"{flag}={text}"], {})


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_can_be_off_only_where_that_means_something(name: str) -> None:
    flag = f"--max-{name.replace('_', '-')}"
    if name in CAN_BE_OFF:
        assert getattr(read([flag, "0"], {}).limits, name) == 0
    else:
        with pytest.raises(StartupError, match="from 1 on"):
            read([flag, "0"], {})


def test_no_limit_is_looser_where_strangers_come() -> None:
    for name in NAMES:
        here, space, shared = (getattr(LIMITS[door], name) or float("inf") for door in DOORS)
        assert here >= space >= shared


def test_a_door_can_be_tried_without_its_tunnel_or_its_space() -> None:
    assert read(["--door", "share"], {}).door == "share"
    assert not read(["--door", "share"], {}).opens_tunnel
    assert read(["--door", "share"], {}).limits == LIMITS["share"]
    assert read(["--door", "space"], {}).limits == LIMITS["space"]
    assert read(["--door", "local"], {"SPACE_ID": "a/b"}).door == "local"
    # Not: a link for strangers with the limits of a person at home.
    assert read(["--door", "local", "--share"], {}).door == "share"
    assert not read(["--share"], {"SPACE_ID": "a/b"}).opens_tunnel
    with pytest.raises(StartupError, match="local, space, share"):
        read([], {"CHAT_UI_DOOR": "back"})


@pytest.mark.parametrize("name", ["http://a.b", "a.b:80", "a b", "*", "ü.de"])
def test_a_host_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(StartupError, match="without a port"):
        read(["--allowed-hosts", name], {})


def test_an_empty_variable_is_an_unset_one() -> None:
    assert read([], {"CHAT_UI_PORT": "", "CHAT_UI_HOST": ""}) == read([], {})


@pytest.mark.parametrize("port", ["-1", "65536", "http", "80.0", "٨٠", "", " 80"])
def test_a_port_that_is_none_is_refused_in_a_sentence(port: str) -> None:
    if port == "":
        assert read(["--port", port], {}).port == 7860
        return
    with pytest.raises(StartupError, match="Give a number from 0 to 65535"):
        read([f"--port={port}"], {})


@given(st.text(max_size=8))
def test_any_port_gives_settings_or_a_sentence(port: str) -> None:
    is_one = port == "" or (port.isascii() and port.isdigit() and int(port) <= 65535)
    if is_one and len(port) <= 5:
        assert 0 <= read([], {"CHAT_UI_PORT": port}).port <= 65535
    else:
        with pytest.raises(StartupError, match=r"\.$"):
            read([], {"CHAT_UI_PORT": port})


def test_an_unknown_precision_is_refused_in_both_places(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(StartupError, match=", ".join(PRECISIONS)):
        read([], {"CHAT_UI_PRECISION": "3bit"})
    with pytest.raises(SystemExit) as end:
        read(["--precision", "3bit"], {})
    assert end.value.code == 2
    assert "3bit" in capsys.readouterr().err


def test_strangers_can_not_change_the_model() -> None:
    assert read(["--share"], {}).model_is_fixed
    assert read([], {"SPACE_ID": "someone/space"}).model_is_fixed
    assert read(["--share"], {"SPACE_ID": "someone/space"}).door == "space"


def test_a_space_with_storage_keeps_its_data_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPACE_DISK", tmp_path)
    assert read([], {"SPACE_ID": "a/b"}).data_dir == tmp_path / "chat_ui"
    assert read([], {}).data_dir != tmp_path / "chat_ui"
    monkeypatch.setattr(module, "SPACE_DISK", tmp_path / "missing")
    assert read([], {"SPACE_ID": "a/b"}).data_dir.parent != tmp_path


def test_a_zerogpu_space_keeps_its_model() -> None:
    """One that is unloaded couldn't be loaded again without a restart."""
    space = {"SPACE_ID": "me/chat", "SPACES_ZERO_GPU": "true"}
    assert read([], space).is_zero_gpu
    assert read([], space).unload_after_s == 0
    assert read([], {"SPACE_ID": "me/chat"}).unload_after_s == 1800
    assert not read([], {"SPACES_ZERO_GPU": "true"}).is_zero_gpu  # on one's own machine


def test_a_space_without_storage_says_that_its_disk_vanishes() -> None:
    space = {"SPACE_ID": "me/chat"}
    assert read(["--data-dir", "/somewhere"], space).disk_vanishes
    assert not read(["--data-dir", "/data/chat_ui"], space).disk_vanishes
    assert not read(["--data-dir", "/somewhere"], {}).disk_vanishes

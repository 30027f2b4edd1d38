"""What the Hub says of models, and a sentence for everything that goes wrong."""

import errno
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_ui.errors import (
    AccessError,
    BadCheckpointError,
    HubError,
    ModelError,
    ModelNotFoundError,
)
from chat_ui.models import hub, hub_errors, hub_files, hub_request
from chat_ui.models.hub_files import HubFile
from tests.fake_hub import (
    TOKEN,
    TOKEN_WAITING,
    TOKEN_WITHOUT_LICENCE,
    TOKEN_WITHOUT_SCOPE,
    FakeHub,
    used_by,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub() as fake, used_by(monkeypatch, fake, tmp_path / "home"):
        yield fake


def test_access_tells_what_a_download_would_take(fake: FakeHub, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_own.py").write_text("code")
    fake.add("o/n", folder, downloads=7, likes=3)
    info = hub.check_access("o/n")
    names = {"config.json", "tokenizer.json", "model.safetensors"}
    assert {file.name for file in info.files} == names
    expected = sum((folder / name).stat().st_size for name in names)
    assert (info.download_bytes, info.missing_bytes) == (expected, expected)
    assert (info.parameters, info.downloads, info.likes, info.licence) == (1000, 7, 3, "mit")
    assert not info.is_gated


def test_only_what_loading_reads_is_wanted() -> None:
    wanted = [
        "config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "merges.txt",
    ]  # fmt: skip
    unwanted = [
        "pytorch_model.bin", "modeling_custom.py", "consolidated.safetensors", "README.md",
        "original/consolidated.00.pth", "onnx/model.onnx", "fp16/model.safetensors", "model.gguf",
    ]  # fmt: skip
    chosen = hub_files.wanted(HubFile(name, 1, "") for name in wanted + unwanted)
    assert sorted(file.name for file in chosen) == sorted(wanted)


@pytest.mark.parametrize(
    ("token", "sentence", "step"),
    [
        (None, "nobody is logged in", "https://huggingface.co/o/n"),
        (TOKEN_WITHOUT_LICENCE, "has not accepted its licence", "https://huggingface.co/o/n"),
        (TOKEN_WAITING, "has not answered yet", "Wait"),
        (TOKEN_WITHOUT_SCOPE, "may not read o/n", "public gated repositories"),
        ("hf_unknown", "doesn't know this token", "Make a new one"),
        ("hf_ü", "not a token", "Copy it again"),
    ],
)
def test_a_gated_model_says_what_is_lacking(
    fake: FakeHub, folder: Path, token: str | None, sentence: str, step: str
) -> None:
    fake.add("o/n", folder, is_gated=True)
    with pytest.raises(AccessError, match=sentence) as caught:
        hub.check_access("o/n", token)
    assert step in caught.value.next_step
    assert token is None or token not in str(caught.value)


def test_a_gated_model_is_for_who_has_access(fake: FakeHub, folder: Path) -> None:
    fake.add("o/n", folder, is_gated=True)
    assert hub.check_access("o/n", f" {TOKEN}\n").is_gated


def test_the_token_of_the_environment_is_sent(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fake.add("o/n", folder, is_private=True)
    assert hub.check_access("o/n").id == "o/n"


@pytest.mark.parametrize(
    ("token", "step"), [(None, "hf auth login"), (TOKEN_WAITING, "This account may not see it")]
)
def test_a_private_model_reads_like_none(
    fake: FakeHub, folder: Path, token: str | None, step: str
) -> None:
    fake.add("o/n", folder, is_private=True)
    with pytest.raises(ModelNotFoundError, match="or it is private") as caught:
        hub.check_access("o/n", token)
    assert step in caught.value.next_step


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("owner/smollm2-instuct", "owner/SmolLM2-Instruct"),  # same owner
        ("ovner/SmolLM2-Instruct", "owner/SmolLM2-Instruct"),  # same name
        ("known/modell", "known/model"),  # neither: from what the caller knows
    ],
)
def test_a_misspelt_name_brings_the_nearest(
    fake: FakeHub, folder: Path, asked: str, meant: str
) -> None:
    fake.add("owner/SmolLM2-Instruct", folder)
    with pytest.raises(ModelNotFoundError, match=f"no model {asked}") as caught:
        hub.check_access(asked, known=["known/model"])
    assert f"Did you mean {meant}?" in caught.value.next_step


@pytest.mark.parametrize("name", ["no//thing", "", "a/b/c", "../etc", "o/n?x=1"])
def test_what_is_no_id_is_not_asked_for(fake: FakeHub, name: str) -> None:
    for call in (hub.check_access, hub.fetch_config):
        with pytest.raises(ModelNotFoundError):
            call(name)
    assert fake.asked == []


@pytest.mark.parametrize(
    ("missing", "sentence"),
    [("model.safetensors", "no safetensors files"), ("config.json", "no config.json")],
)
def test_a_repository_that_is_no_model_is_refused_before_it_comes(
    fake: FakeHub, folder: Path, missing: str, sentence: str
) -> None:
    (folder / missing).unlink()
    fake.add("o/n", folder)
    with pytest.raises(BadCheckpointError, match=sentence):
        hub.check_access("o/n")


def test_a_disk_that_is_too_small_is_told_with_what_is_missing(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("o/n", folder).files["model.safetensors"] = bytes(3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000))
    with pytest.raises(ModelError, match=r"needs 3\.0 MB .* 1\.0 MB free: 2\.0 MB are") as caught:
        hub.check_access("o/n")
    assert "HF_HOME" in caught.value.next_step


def test_what_is_here_already_needs_no_room(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = fake.add("o/n", folder)
    weights = next(file for file in hub.check_access("o/n").files if "safetensors" in file.name)
    partial = hub_files.partial("o/n", weights)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(repository.files[weights.name][:100])
    info = hub.check_access("o/n")
    assert info.missing_bytes == info.download_bytes - 100
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: SimpleNamespace(free=info.missing_bytes)
    )
    assert hub.check_access("o/n") == info


@pytest.mark.parametrize(
    ("fault", "sentence", "step"),
    [("rate limited", "no more requests", "in 42 seconds"), ("broken", "HTTP 500", "few minutes")],
)
def test_a_hub_in_trouble_is_a_sentence(
    fake: FakeHub, folder: Path, fault: Any, sentence: str, step: str
) -> None:
    fake.add("o/n", folder, fault=fault)
    with pytest.raises(HubError, match=sentence) as caught:
        hub.check_access("o/n")
    assert step in caught.value.next_step


def test_a_hub_that_never_answers_is_not_waited_for(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_request, "PIECE_TIMEOUT_S", 0.2)
    fake.add("o/n", folder, fault="silent")
    with pytest.raises(HubError, match="took too long"):
        hub.check_access("o/n")


def test_an_answer_that_never_ends_is_given_up(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("o/n", folder)
    monkeypatch.setattr(hub_request, "DEADLINE_S", -1.0)
    with pytest.raises(HubError, match="took too long"):
        hub.fetch_config("o/n")
    monkeypatch.undo()


def test_without_a_network_every_question_is_a_sentence(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    for call in (hub.check_access, hub.fetch_config, hub.search):
        with pytest.raises(HubError, match="Hub can't be reached"):
            call("o/n")


def test_offline_mode_is_named(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for call in (hub.check_access, hub.fetch_config, hub.search):
        with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
            call("o/n")
    assert fake.asked == []


def test_a_search_finds_models_with_their_numbers(fake: FakeHub, folder: Path) -> None:
    fake.add("a/llama-small", folder, downloads=1, likes=5)
    fake.add("b/Llama-large", folder, downloads=9, is_gated=True)
    fake.add("c/other", folder)
    assert hub.search(" llama ") == [
        hub.HubModel("b/Llama-large", 1000, True, 9, 0),
        hub.HubModel("a/llama-small", 1000, False, 1, 5),
    ]
    assert len(hub.search("llama", limit=1)) == 1
    assert len(fake.asked) == 2
    assert hub.search("  ") == []
    assert len(fake.asked) == 2  # nothing was asked


def test_a_config_comes_alone(fake: FakeHub, folder: Path) -> None:
    fake.add("o/n", folder)
    assert hub.fetch_config("o/n") == {"model_type": "llama"}
    assert [one.path for one in fake.asked] == ["/o/n/resolve/main/config.json"]


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"x"'])
def test_a_broken_config_is_a_sentence(fake: FakeHub, folder: Path, text: str) -> None:
    fake.add("o/n", folder).files["config.json"] = text.encode()
    with pytest.raises(BadCheckpointError, match="broken"):
        hub.fetch_config("o/n")


def test_a_config_without_end_is_not_read(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_MOST_CONFIG_BYTES", 10)
    fake.add("o/n", folder)
    with pytest.raises(HubError, match="can't be understood"):
        hub.fetch_config("o/n")


def test_a_missing_config_is_a_sentence(fake: FakeHub, folder: Path) -> None:
    del fake.add("o/n", folder).files["config.json"]
    with pytest.raises(BadCheckpointError, match="lacks a file"):
        hub.fetch_config("o/n")


def test_a_config_that_is_here_needs_no_hub(
    fake: FakeHub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    repository = hub_files.repository_folder("o/n")
    shutil.copytree(folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch_config("o/n") == {"model_type": "llama"}


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["siblings", "safetensors", "tags", "gated"]), JSON) | JSON)
def test_no_answer_of_the_hub_breaks_anything(answer: Any) -> None:
    if isinstance(answer, dict):
        answer["sha"] = "0" * 40
    with suppress(HubError):
        assert hub._info("o/n", json.loads(json.dumps(answer))).missing_bytes >= 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "secret"), "The disk is full: o/n did not fit"),
        (PermissionError(errno.EACCES, "secret"), "can't be written to"),
        (ConnectionResetError("secret"), "the Hub can't be reached"),
        (TimeoutError("secret"), "took too long"),
        (RuntimeError("secret"), r"could not be asked \(RuntimeError\)"),
    ],
)
def test_any_failure_is_a_sentence_without_its_own_text(error: Exception, sentence: str) -> None:
    shown = hub_errors.as_model_error(error, "o/n")
    assert "secret" not in str(shown)
    with pytest.raises(ModelError, match=sentence):
        raise shown

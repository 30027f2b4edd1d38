"""Files from the Hub: what is asked for, and a sentence for everything that goes wrong."""

import errno
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.utils._paths import filter_repo_objects

from chat_ui.errors import ModelError, ModelNotFoundError
from chat_ui.models import hub


def test_only_what_loading_reads_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Mock(return_value="/cache/m")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", asked)
    assert hub.download("o/n") == Path("/cache/m")
    wanted = [
        "config.json", "tokenizer.json", "tokenizer.model", "chat_template.jinja",
        "model-00001-of-00002.safetensors", "model.safetensors.index.json", "merges.txt",
    ]  # fmt: skip
    unwanted = [
        "pytorch_model.bin", "modeling_custom.py", "consolidated.safetensors", "README.md",
        "original/consolidated.00.pth", "onnx/model.onnx", "fp16/model.safetensors", "model.gguf",
    ]  # fmt: skip
    patterns: dict[str, Any] = dict(asked.call_args.kwargs)
    assert set(patterns) == {"allow_patterns", "ignore_patterns"}  # the token is not our business
    assert list(filter_repo_objects(wanted + unwanted, **patterns)) == wanted


def http_error(kind: type[errors.HfHubHTTPError]) -> errors.HfHubHTTPError:
    return kind("secret detail", response=Mock())


@pytest.mark.parametrize(
    ("error", "expected", "step"),
    [
        (http_error(errors.GatedRepoError), "o/n is gated", "huggingface.co/o/n"),
        (http_error(errors.RepositoryNotFoundError), "The Hub has no model o/n", "Check the name"),
        (errors.LocalEntryNotFoundError("x"), "the Hub can't be reached", "Check the connection"),
        (errors.OfflineModeIsEnabled("x"), "the Hub can't be reached", "HF_HUB_OFFLINE"),
        (OSError(errno.ENOSPC, "No space left"), "The disk is full", "Free some space"),
        (http_error(errors.HfHubHTTPError), "could not be downloaded", "Try again later"),
        (RuntimeError("x"), "could not be downloaded", "Try again later"),
    ],
    ids=["gated", "missing", "not cached", "offline", "disk full", "server", "other"],
)
def test_what_goes_wrong_is_a_sentence(
    error: Exception, expected: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", Mock(side_effect=error))
    with pytest.raises(ModelError, match=expected) as caught:
        hub.download("o/n")
    assert step in caught.value.next_step
    assert "secret" not in str(caught.value)


def test_without_the_network_a_model_that_is_not_here_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client, which HF_HUB_OFFLINE keeps from the network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="is not on this machine"):
        hub.download("nobody/nothing")


def test_a_name_the_hub_would_not_take() -> None:
    with pytest.raises(ModelNotFoundError):
        hub.download("no//thing")

"""The step's tensors are those that the library would have made."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs

from chat_ui.engine import paged_inputs
from chat_ui.engine.protocol import Finished
from tests.engine.batched_engines import Make, begin, engines

pytestmark = pytest.mark.torch


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with engines(tmp_path) as make:
        yield make


def theirs_beside(ours: paged_inputs.Inputs, processors: Any) -> ContinuousBatchingIOs:
    """The library's own, for the same loop."""
    config = SimpleNamespace(
        max_requests_per_batch=ours.max_requests_per_batch,
        cuda_graph_booleans=(False, False),
        return_logprobs=False,
    )
    return ContinuousBatchingIOs(
        ours.cache, ours.config, config, ours.device, ours.model_dtype, processors
    )


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return bool(ours == theirs)


@pytest.mark.parametrize("variant", ["llama", "mistral", "gemma3"])
def test_the_tensors_are_the_librarys(
    make: Make, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    """Prompts read at once and in parts, before and after a window of 32 tokens is full."""
    prepare = paged_inputs.Inputs.prepare_batch_tensors
    seen: list[list[str]] = []
    theirs: list[ContinuousBatchingIOs] = []

    def spy(self: paged_inputs.Inputs, requests: list[Any], processors: Any, *args: Any) -> None:
        if not theirs:
            theirs.append(theirs_beside(self, processors))
        before = [(each.state.position_offset, each.state.tokens_to_process) for each in requests]
        reads = sum(offset for offset, _ in before)
        tokens = sum(each.query_length for each in requests)
        theirs[0].prepare_batch_tensors(requests, processors, False, tokens, reads, False)
        for each, (offset, ids) in zip(requests, before, strict=True):
            each.state.position_offset, each.state.tokens_to_process = offset, ids
        prepare(self, requests, processors, *args)
        wanted, got = theirs[0].get_model_kwargs(), self.get_model_kwargs()
        # The library scores as many tokens as there are rows, the first one in place of those that
        # nobody wants.
        rows = sum(each.has_new_token for each in requests)
        wanted["logits_indices"] = wanted["logits_indices"][: max(rows, 1)]
        seen.append([key for key in wanted if not same(got[key], wanted[key])])

    def with_names(self: paged_inputs.Inputs, **named: Any) -> None:
        spy(self, *named.values())

    engine = make(variant)
    monkeypatch.setattr(paged_inputs.Inputs, "prepare_batch_tensors", with_names)
    readers = [
        begin(engine, prompt=prompt, tokens=40, seed=seed)[0]
        for seed, prompt in enumerate((600, 3, 31, 32, 70), 1)
    ]
    assert [reader.wait() for reader in readers] == [Finished("length")] * 5
    assert len(seen) > 40
    assert not any(seen), seen

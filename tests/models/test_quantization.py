"""The precisions and their names."""

import pytest

from chat_ui.errors import InvalidRequestError
from chat_ui.models.quantization import PRECISIONS, QUANTIZATIONS, precision


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision_has_its_entry(name: str) -> None:
    chosen = QUANTIZATIONS[precision(name)]
    assert chosen.label
    assert (chosen.bytes_per_parameter is None) == (name == "full")
    assert (chosen.config is None) == (name == "full" or chosen.is_for_cpu)


@pytest.mark.parametrize("name", ["", "16bit", "FULL", "4bit "])
def test_there_is_no_other(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="no such precision") as caught:
        precision(name)
    assert "4bit" in caught.value.next_step

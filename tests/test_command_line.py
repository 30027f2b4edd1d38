"""`python -m chat_ui`: forecasts and lists without the page."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chat_ui import __main__ as command_line
from chat_ui import settings
from chat_ui.history.measurements import ENOUGH, Measurement
from chat_ui.history.store import Store
from chat_ui.models.hardware import machine_key
from chat_ui.models.spec import BUILT_IN_FOLDER
from tests.service.instruments import FakeInstruments

ROOT = Path(__file__).parent.parent
CONFIG = json.loads((BUILT_IN_FOLDER / "config.json").read_text())
PARAMETERS = 12 * 5 * 256**2 + CONFIG["vocab_size"] * 256  # as FakeInstruments counts them
KEYS = {
    "weight_bytes", "unquantized_bytes", "kv_cache_bytes", "total_bytes", "verdict", "tokens_per_s",
}  # fmt: skip


@pytest.fixture(autouse=True)
def instruments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeInstruments:
    """Nothing is measured, nobody's data folder or cache is looked at, and no Hub is there."""
    found = FakeInstruments()
    monkeypatch.setattr(command_line, "RealInstruments", lambda: found)
    monkeypatch.setenv("CHAT_UI_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    return found


@pytest.fixture
def only_config(tmp_path: Path) -> Path:
    folder = tmp_path / "my-model"
    folder.mkdir()
    shutil.copy(BUILT_IN_FOLDER / "config.json", folder)
    return folder


def test_a_folder_with_only_a_config_is_forecast_as_json(
    only_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["forecast", str(only_config), "--context", "512", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["total_parameters"], said["active_parameters"]) == (PARAMETERS, PARAMETERS)
    assert said["context_tokens"] == 512
    precisions = said["precisions"]
    assert {"float32", "bfloat16", "8bit", "4bit"} <= precisions.keys()
    assert all(precisions[name].keys() >= KEYS for name in precisions)
    assert precisions["bfloat16"]["weight_bytes"] == 2 * PARAMETERS
    assert precisions["float32"]["weight_bytes"] == 4 * PARAMETERS
    assert precisions["bfloat16"]["kv_cache_bytes"] == 512 * 5 * 2 * 256 * 2
    assert precisions["4bit"]["verdict"] == "fits"
    assert precisions["8bit"]["tokens_per_s"] > 0


def test_one_precision_can_be_asked_for(
    only_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for asked, name in (("4bit", "4bit"), ("full", "bfloat16")):
        command_line.main(["forecast", str(only_config), "--precision", asked, "--json"])
        assert list(json.loads(capsys.readouterr().out)["precisions"]) == [name]


def test_a_forecast_reads_well(only_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["forecast", str(only_config)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("my-model: ")
    assert "With a context of 2,048 of 2,048 tokens:" in said
    assert re.search(r"A processor, \d+ cores?, reads 20\.0 GB/s", said)
    assert [line.split()[0] for line in said.splitlines() if "fits" in line][:4] == [
        "float32", "bfloat16", "8bit", "4bit",
    ]  # fmt: skip


def test_a_catalogue_model_needs_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["forecast", "Qwen/Qwen3-0.6B", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["context_tokens"] == 4096


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["no/such model here"], "There is no model folder"),
        (["nobody/knows-this"], "can't be reached"),
        (["Qwen/Qwen3-0.6B", "--precision", "3bit"], "Give one of float32, bfloat16"),
    ],
)
def test_what_goes_wrong_is_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(["forecast", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("context", ["0", "-5", "many", "²"])
def test_a_context_is_a_number_of_tokens(context: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["forecast", "Qwen/Qwen3-0.6B", "--context", context])
    assert ended.value.code == 2
    assert "is no number of tokens" in capsys.readouterr().err


def test_the_list_has_the_built_in_model_and_the_catalogue(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command_line.main(["models"]) == 0
    said = capsys.readouterr().out
    assert said.index("On this machine") < said.index("pocket-guide") < said.index("Qwen/Qwen3")
    assert command_line.main(["models", "--json"]) == 0
    models = {one["id"]: one for one in json.loads(capsys.readouterr().out)["models"]}
    assert models["pocket-guide"]["group"] == "here"
    assert models["Qwen/Qwen3-0.6B"]["verdict"] in ("fits", "tight", "no")


def test_it_learns_from_what_the_app_measured(
    only_config: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Answers that came half as fast as forecast halve the forecast."""
    data_dir = settings.read().data_dir
    arguments = ["forecast", str(only_config), "--precision", "bfloat16", "--json"]

    def forecast() -> float:
        assert command_line.main(arguments) == 0
        speed = json.loads(capsys.readouterr().out)["precisions"]["bfloat16"]["tokens_per_s"]
        return float(speed)

    before = forecast()
    store = Store.open(data_dir)
    for _ in range(ENOUGH):
        store.measurements.add(
            Measurement(
                machine=machine_key("A processor"),
                model_id="another",
                precision="bfloat16",
                context_tokens=100,
                measured_at=datetime.now(UTC),
                forecast_tokens_per_s=100.0,
                tokens_per_s=50.0,
            )
        )
    store.close()
    assert forecast() == pytest.approx(before / 2)


def test_it_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "chat_ui", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0
    assert "forecast" in run.stdout


@pytest.mark.torch
def test_a_new_machine_is_measured_while_a_model_is_counted(only_config: Path) -> None:
    """Both import transformers first, and each found the other's half done."""
    program = (
        "import sys\n"
        "from chat_ui import __main__ as command_line\n"
        "from chat_ui.engine.protocol import EngineFacts\n"
        "from chat_ui.service import instruments\n"
        "instruments.RealInstruments.read_bandwidth = lambda self, kind: 1e9\n"
        "speed = instruments.PrecisionSpeed(True, '', 1e9, 0.0, 0.0, 1e9)\n"
        "instruments.RealInstruments.probe_precision = lambda self, name, kind: speed\n"
        "sys.exit(command_line.main(sys.argv[1:]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, "forecast", str(only_config), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert json.loads(run.stdout)["precisions"]["8bit"]["tokens_per_s"] > 0

"""Instruments that say what a test wants: nothing is counted, measured or imported."""

from collections.abc import Mapping
from typing import Any

from chat_ui.errors import BadCheckpointError
from chat_ui.models.architecture import Architecture, CacheLayers
from chat_ui.models.hardware import PrecisionSpeed
from chat_ui.models.memory import DeviceKind

SPEED = PrecisionSpeed(True, "", 10e9, 1e-4, 1e-3, 100e9)


class FakeInstruments:
    """A machine with 20 GB/s.

    Attributes:
        counted: the configs that were counted, in order.
        probed: what was measured, in order; "" is the bandwidth.
        broken: precisions that don't work, with the reason.
    """

    def __init__(self) -> None:
        self.counted: list[Mapping[str, Any]] = []
        self.probed: list[str] = []
        self.broken: dict[str, str] = {}

    def device_kind(self) -> DeviceKind:
        """See `service.instruments.Instruments`."""
        return "cpu"

    def machine_name(self, kind: DeviceKind) -> str:
        """See `service.instruments.Instruments`."""
        return "A processor"

    def count(self, config: Mapping[str, Any]) -> Architecture:
        """A decoder of the config's sizes, roughly."""
        self.counted.append(config)
        config = {**config, **config.get("text_config", {})}
        if "hidden_size" not in config:
            raise BadCheckpointError("This makes no model.", "Choose another.")
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        linear, vocabulary = 12 * layers * hidden**2, int(config["vocab_size"])
        return Architecture(
            model_type=str(config["model_type"]),
            dtype="bfloat16",
            total_parameters=linear + vocabulary * hidden,
            active_parameters=linear + vocabulary * hidden,
            quantizable_parameters=linear,
            quantizable_modules=7 * layers,
            quantizable_rows=9 * layers * hidden,
            active_quantizable_parameters=linear,
            active_left_parameters=vocabulary * hidden,
            layers=layers,
            vocabulary=vocabulary,
            cache=(CacheLayers(layers, 2 * hidden),),
            window_tokens=int(config["max_position_embeddings"]),
        )

    def read_bandwidth(self, kind: DeviceKind) -> float:
        """See `service.instruments.Instruments`."""
        self.probed.append("")
        return 20e9

    def probe_precision(self, name: str, kind: DeviceKind) -> PrecisionSpeed:
        """See `service.instruments.Instruments`."""
        self.probed.append(name)
        if name in self.broken:
            return PrecisionSpeed(False, self.broken[name])
        return SPEED

"""The panel "Generation": how answers are sampled. A new setting is one entry in `SETTINGS`.

What comes back from the browser may be anything; `ui/events.py` checks it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import gradio as gr

from chat_ui.chat.generation import MAX_NEW_TOKENS, GenerationConfig
from chat_ui.limits import Limits
from chat_ui.service import ChatService
from chat_ui.ui.i18n import I18N
from chat_ui.ui.offload import Offload
from chat_ui.ui.panels.controls import Controls

Component = gr.components.Component


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: in GenerationConfig.
        control: makes its control, for what visitors may ask for.
        is_basic: it is always shown.
        has_note: a sentence below it depends on the loaded model; see `model_line.py`.
    """

    name: str
    control: Callable[[Limits], Component]
    is_basic: bool = False
    has_note: bool = False


def _slider(
    name: str, low: float, high: float, step: float, value: float, *, has_info: bool = False
) -> Callable[[Limits], Component]:
    return lambda limits: gr.Slider(
        low,
        high,
        value,
        step=step,
        label=I18N(f"settings.{name}"),
        info=I18N(f"settings.{name}_info") if has_info else None,
        buttons=[],
        elem_id="set-" + name.replace("_", "-"),
    )


def _new_tokens(limits: Limits) -> Component:
    most = min(limits.new_tokens, MAX_NEW_TOKENS)
    low, step = (16, 16) if most > 16 else (0, 1)  # a slider wants a range
    value = min(most, DEFAULT.max_new_tokens)
    return _slider("max_new_tokens", low, most, step, value)(limits)


def _seed_box(limits: Limits) -> Component:
    return gr.Textbox(
        label=I18N("settings.seed"),
        placeholder=I18N("settings.seed_random"),
        max_lines=1,
        elem_id="set-seed",
    )


DEFAULT: Final = GenerationConfig()

SETTINGS: Final = (
    Setting(
        "temperature",
        _slider("temperature", 0.0, 2.0, 0.05, DEFAULT.temperature, has_info=True),
        is_basic=True,
    ),
    Setting("top_p", _slider("top_p", 0.05, 1.0, 0.01, DEFAULT.top_p), is_basic=True),
    Setting(
        "max_new_tokens",
        _new_tokens,
        is_basic=True,
    ),
    Setting("top_k", _slider("top_k", 0, 200, 1, DEFAULT.top_k, has_info=True)),
    Setting("min_p", _slider("min_p", 0.0, 1.0, 0.01, DEFAULT.min_p)),
    Setting(
        "repetition_penalty",
        _slider("repetition_penalty", 0.5, 2.0, 0.05, DEFAULT.repetition_penalty, has_info=True),
    ),
    Setting("seed", _seed_box, has_note=True),
    Setting(
        "stop",
        lambda limits: gr.Textbox(
            label=I18N("settings.stop"),
            info=I18N("settings.stop_info"),
            lines=2,
            max_lines=8,
            elem_id="set-stop-strings",
        ),
    ),
    Setting(
        "assisted",
        lambda limits: gr.Checkbox(
            DEFAULT.assisted,
            label=I18N("settings.assisted"),
            info=I18N("settings.assisted_info"),
            elem_id="set-assisted-generation",
        ),
        has_note=True,
    ),
)


def build(service: ChatService, offload: Offload) -> Controls:
    """The panel's controls by name."""
    limits = service.settings.limits
    controls: Controls = {
        setting.name: setting.control(limits) for setting in SETTINGS if setting.is_basic
    }
    # Shown where the loaded model's template has such a switch (`model_line.py`).
    controls["thinking"] = gr.Checkbox(
        True, label=I18N("settings.thinking"), elem_id="set-thinking"
    )
    with gr.Accordion(I18N("settings.more"), open=False, elem_id="more-settings"):
        for setting in SETTINGS:
            if not setting.is_basic:
                controls[setting.name] = setting.control(limits)
                if setting.has_note:
                    # The script writes what is true of the loaded model, as text.
                    note = f'<p class="setting-note" id="note-{setting.name}"></p>'
                    gr.HTML(note, js_on_load=None)
        # It stays until another chat is opened; the browser does not keep it.
        controls["begins_with"] = gr.Textbox(
            label=I18N("settings.begins_with"),
            info=I18N("settings.begins_with_info"),
            lines=1,
            max_lines=4,
            elem_id="set-begins-with",
        )
    return controls


def in_order(controls: Controls) -> list[Component]:
    """The panel's controls in the order of `SETTINGS`."""
    return [controls[setting.name] for setting in SETTINGS]

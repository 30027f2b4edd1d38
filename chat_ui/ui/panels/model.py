"""The panel "Model": which model the server has, in which precision. It is one for all pages."""

from collections.abc import Sequence

import gradio as gr

from chat_ui.service import PRECISION_LABELS
from chat_ui.settings import Settings

FIXED_INFO = "The model is fixed on this server."
FREE_INFO = "Choose one, or type a folder's path."


def build(settings: Settings) -> dict[str, gr.components.Component]:
    """The panel's controls by name. Their values come with the page's first `sync`."""
    is_free = not settings.model_is_fixed
    return {
        "model": gr.Dropdown(
            choices=[],
            value=None,
            label="Model",
            info=FREE_INFO if is_free else FIXED_INFO,
            allow_custom_value=True,
            interactive=is_free,
            elem_id="model",
        ),
        "precision": gr.Radio(
            choices=[(label, name) for name, label in PRECISION_LABELS.items()],
            value=settings.precision,
            label="Precision",
            interactive=is_free,
            elem_id="precision",
        ),
    }


def shown(
    models: Sequence[tuple[str, str]], model: str, precision: str
) -> tuple[gr.Dropdown, gr.Radio]:
    """The two controls as they have to be when the server's model is this one."""
    return gr.Dropdown(choices=list(models), value=model), gr.Radio(value=precision)

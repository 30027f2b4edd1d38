"""The texts of Gradio's own components: it translates them in the browser, by their keys."""

from typing import Final

import gradio as gr

from chat_ui.ui.texts import translations

I18N: Final = gr.I18n(**translations())

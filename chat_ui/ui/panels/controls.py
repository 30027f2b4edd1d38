"""What a panel gives the page: its controls by name, for the events that read them."""

import gradio as gr

Controls = dict[str, gr.components.Component]

"""The Gradio page: layout, handlers, panels, theme. It knows the service and nothing below it."""

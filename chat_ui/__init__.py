"""A chat app for Hugging Face models, run on your own machine."""

import os

# Gradio and the Hub's client read these when they are imported, and call home without them. They
# stand here because nothing of this app is imported before.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

"""A chat app for Hugging Face models, run on your own machine."""

__version__ = "0.1.0"

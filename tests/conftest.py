"""No test reaches the network: neither Gradio's analytics nor the Hub's client gets to try."""

import os

# Both read these when they are imported, which is before any fixture runs.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

for name in [name for name in os.environ if name.startswith(("CHAT_UI_", "GRADIO_SERVER_"))]:
    del os.environ[name]  # what the developer has set is not what is tested

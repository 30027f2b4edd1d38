"""No test reaches the network: neither Gradio's analytics nor the Hub's client gets to try."""

import os

from hypothesis import settings

# Both read these when they are imported, which is before any fixture runs.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Tests use tiny models, for which a second thread only costs; torch reads this when it starts.
os.environ["OMP_NUM_THREADS"] = "1"

for name in [name for name in os.environ if name.startswith(("CHAT_UI_", "GRADIO_SERVER_"))]:
    del os.environ[name]  # what the developer has set is not what is tested

# The same examples in every run, and no deadline: a slow moment of a shared machine is no defect.
settings.register_profile("chat_ui", deadline=None, derandomize=True)
settings.load_profile("chat_ui")

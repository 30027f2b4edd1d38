"""The only door between page and backend: conversations, running replies, the server's models.

`ChatService` is what the page and the composition root use; it calls nothing of them.
"""

from typing import Final

from chat_ui.engine.protocol import LoadEngine
from chat_ui.models.quantization import QUANTIZATIONS
from chat_ui.service.chat import ChatService
from chat_ui.service.host import ModelHost, load_model
from chat_ui.service.replies import ReplyOptions
from chat_ui.service.reply import Phase, Reply, ReplySnapshot
from chat_ui.service.status import ModelStatus

# Each precision's name on the page.
PRECISION_LABELS: Final[dict[str, str]] = {
    name: method.label for name, method in QUANTIZATIONS.items()
}

__all__ = [
    "PRECISION_LABELS",
    "ChatService",
    "LoadEngine",
    "ModelHost",
    "ModelStatus",
    "Phase",
    "Reply",
    "ReplyOptions",
    "ReplySnapshot",
    "load_model",
]

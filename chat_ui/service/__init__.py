"""The only door between page and backend: conversations, running replies, and the server's model.

`ChatService` is what the page and the composition root use; it calls nothing of them.
"""

from chat_ui.engine.protocol import LoadEngine
from chat_ui.service.chat import ChatService
from chat_ui.service.host import ModelHost, ModelStatus, load_model
from chat_ui.service.replies import ReplyOptions
from chat_ui.service.reply import Phase, Reply, ReplySnapshot

__all__ = [
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

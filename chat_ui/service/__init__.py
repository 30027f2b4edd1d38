"""The only door between page and backend: conversations, running replies, the server's models.

`ChatService` is what the page and the composition root use; it calls nothing of them.
"""

from typing import Final

from chat_ui.engine.protocol import LoadEngine
from chat_ui.models.catalogue import Leaderboard, leaderboards
from chat_ui.models.forecast import PrecisionForecast, Verdict
from chat_ui.models.quantization import MAIN_PRECISIONS, QUANTIZATIONS
from chat_ui.models.spec import BUILT_IN_ID
from chat_ui.service.cards import Choice, ChoiceGroup, Measured, ModelCard, PrecisionCard
from chat_ui.service.chat import ChatService
from chat_ui.service.context_meter import ContextUse
from chat_ui.service.files import Added
from chat_ui.service.host import ModelHost
from chat_ui.service.instruments import Instruments, RealInstruments
from chat_ui.service.job import ReplyOptions
from chat_ui.service.loading import loader
from chat_ui.service.reply import Phase, Reply, ReplySnapshot
from chat_ui.service.status import Loading, ModelStatus
from chat_ui.service.tally import Figures, log_to_stderr
from chat_ui.service.waiting import Place

# Each precision's name on the page.
PRECISION_LABELS: Final[dict[str, str]] = {
    name: method.label for name, method in QUANTIZATIONS.items()
}

__all__ = [
    "BUILT_IN_ID",
    "MAIN_PRECISIONS",
    "PRECISION_LABELS",
    "Added",
    "ChatService",
    "Choice",
    "ChoiceGroup",
    "ContextUse",
    "Figures",
    "Instruments",
    "Leaderboard",
    "LoadEngine",
    "Loading",
    "Measured",
    "ModelCard",
    "ModelHost",
    "ModelStatus",
    "Phase",
    "Place",
    "PrecisionCard",
    "PrecisionForecast",
    "RealInstruments",
    "Reply",
    "ReplyOptions",
    "ReplySnapshot",
    "Verdict",
    "leaderboards",
    "loader",
    "log_to_stderr",
]

"""The errors a person may see. Each carries one sentence and a next step, and never a traceback.

    ChatUIError
    ├── StartupError            the app cannot start: bad flag, port in use, data folder
    ├── InvalidRequestError     what was sent cannot be taken: empty, too long, out of range
    ├── NotFoundError           no such conversation, or another person's: both read alike
    ├── BusyError               an answer is being written already, or too many are
    ├── NotAllowedError         this server does not let visitors do that
    │   └── NoCookieError           nor those of whom it is not known who they are
    ├── HistoryError            the conversation could not be read or stored
    ├── ModelError              the model can't be loaded
    │   ├── ModelNotFoundError      no folder and no such model
    │   ├── BadCheckpointError      the files are there and are no good
    │   ├── AccessError             the Hub has the model, and not for this account or token
    │   ├── HubError                the Hub can't be reached, or doesn't answer as it should
    │   └── LoadCancelledError      somebody didn't want it any more
    └── EngineError             the model runs and this answer failed
        ├── PromptTooLongError      more tokens than the context window holds
        └── EngineStoppedError      the model was unloaded while it answered

Anything that is not a `ChatUIError` is a defect: it is logged with its traceback and shown as a
general sentence. This module imports nothing, so that every layer may use it.
"""


class ChatUIError(Exception):
    """An error written for the person who uses the app.

    Args:
        sentence: what happened, one sentence with its full stop.
        next_step: what to do about it, one sentence with its full stop.
    """

    def __init__(self, sentence: str, next_step: str = "") -> None:
        super().__init__(sentence, next_step)
        self.sentence = sentence
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.sentence} {self.next_step}".strip()


class StartupError(ChatUIError):
    """The app cannot start; the process ends with an exit code that is not 0."""


class InvalidRequestError(ChatUIError):
    """What was sent cannot be taken as it is."""


class NotFoundError(ChatUIError):
    """No such conversation of this owner; a foreign id and an unknown one read alike."""

    def __init__(self) -> None:
        super().__init__(
            "This conversation isn't here.", "Start a new chat, or choose one from the list."
        )


class BusyError(ChatUIError):
    """Something else has to end first."""


class NotAllowedError(ChatUIError):
    """The owner of this server doesn't let visitors do that."""


class NoCookieError(NotAllowedError):
    """The browser sent no session cookie."""

    def __init__(self) -> None:
        super().__init__(
            "Your browser doesn't send this page's cookie.",
            "Allow cookies for this page, then reload it.",
        )


class HistoryError(ChatUIError):
    """The conversation could not be read or stored."""


class ModelError(ChatUIError):
    """The model can't be loaded."""


class ModelNotFoundError(ModelError):
    """There is no such folder and no such model."""


class BadCheckpointError(ModelError):
    """The model's files are there and can't be used."""


class AccessError(ModelError):
    """The Hub has the model and doesn't give it to this account or token."""


class HubError(ModelError):
    """The Hub can't be reached, or doesn't answer as it should; trying again may help."""


class LoadCancelledError(ModelError):
    """Somebody ended the loading."""

    def __init__(self) -> None:
        super().__init__("Loading was cancelled.")


class EngineError(ChatUIError):
    """The model is loaded and this answer failed."""


class PromptTooLongError(EngineError):
    """The prompt holds more tokens than the model's context window."""


class EngineStoppedError(EngineError):
    """The model was unloaded while it answered."""

    def __init__(self) -> None:
        super().__init__("The model was unloaded while it answered.", "Press Regenerate.")


def as_shown(error: BaseException) -> str:
    """The text that a person is shown for any exception: its own sentence, or a general one."""
    if isinstance(error, ChatUIError):
        return str(error)
    return "Something went wrong inside the app. Try again; the server's log has the details."

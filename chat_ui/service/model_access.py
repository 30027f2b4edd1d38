"""What a page can ask of the server's model, and who may: visitors, or its owner alone.

Its methods block: call them off the event loop.
"""

from dataclasses import replace
from pathlib import Path

from chat_ui.errors import NotAllowedError
from chat_ui.models.quantization import precision as checked_precision
from chat_ui.service.cards import Choice, ChoiceGroup, ModelCard, without_machine
from chat_ui.service.forecasts import precision_name
from chat_ui.service.opened import Opened
from chat_ui.service.status import ModelStatus


class ModelAccess(Opened):
    """The model that answers: what it is, choosing another, loading and unloading."""

    @property
    def model(self) -> ModelStatus:
        """Which model the server has, and what it is doing with it. Starts nothing."""
        if self._opened is None:
            name = self.settings.model
            if self.settings.is_public:  # it may be a path
                name = Path(name).name
            return ModelStatus(0, "starting", name, name, self.settings.precision)
        return self._opened.host.status

    def measured_model(self) -> ModelStatus:
        """The same, with what the model took and did; it may read the database."""
        status = self.model
        if self._opened is None or status.phase != "ready" or status.dtype is None:
            return status
        name = precision_name(status.precision, status.dtype)
        return replace(status, measured=self._opened.forecasts.measured(status.model_id, name))

    def switch_model(
        self,
        model: str,
        precision: str,
        token: str = "",
        *,
        anyway: bool = False,
        is_owner: bool = False,
    ) -> None:
        """Begin to change the server's model; returns at once, `model` shows how it goes.

        Args:
            model: as the picker takes it.
            precision: in which precision.
            token: of the Hub, for this download alone.
            anyway: try it, though memory seems too short.
            is_owner: the server's owner asks, who may where visitors may not.

        Raises:
            NotAllowedError: visitors may not, here.
            ModelError: there is no such model, or its files are no good.
            BusyError: another change is under way.
            InvalidRequestError: there is no such precision.
        """
        self.refuse_where_fixed(is_owner)
        self._host.switch(model, checked_precision(precision), token or None, anyway=anyway)

    def cancel_load(self, *, is_owner: bool = False) -> None:
        """End the change that is under way, if any; what was there before it stays.

        Raises:
            NotAllowedError: visitors may not, here.
        """
        self.refuse_where_fixed(is_owner)
        self._host.cancel()
        self._backend.choosing.forget_downloads()

    def unload_model(self, *, is_owner: bool = False) -> None:
        """Give the models' memory back; the next message loads the present one again.

        Raises:
            NotAllowedError: visitors may not, here.
            BusyError: it is answering, or another one is being loaded.
        """
        self.refuse_where_fixed(is_owner)
        self._host.unload()

    def may_change_model(self, is_owner: bool) -> bool:
        """Whether this visitor may choose, load and unload models."""
        return is_owner or not self.settings.model_is_fixed

    def model_choices(self, *, is_owner: bool = False) -> list[ChoiceGroup]:
        """The models to choose from, in groups; none where visitors may not choose."""
        return self._backend.choosing.choices() if self.may_change_model(is_owner) else []

    def search_models(self, text: str, token: str = "", *, is_owner: bool = False) -> list[Choice]:
        """Models of the Hub by a part of their id.

        Raises:
            NotAllowedError: visitors may not choose, here.
            ModelError: the Hub can't be asked.
        """
        self.refuse_where_fixed(is_owner)
        return self._backend.choosing.search(text, token or None)

    def model_card(
        self,
        model: str,
        context_tokens: int | None = None,
        token: str = "",
        *,
        is_owner: bool = False,
    ) -> ModelCard:
        """What a model is, takes and does, before it is loaded.

        Args:
            model: as the picker takes it.
            context_tokens: for which it is forecast; None for a usual one.
            token: of the Hub, for this call alone.
            is_owner: the server's owner asks. Where the model is fixed, the Hub is asked for nobody
                else, and nobody else is told what the machine is called.

        Raises:
            NotAllowedError: visitors may not choose, here, and it is not the present one.
            ModelError: there is no such model.
        """
        if model != self.model.model_id:
            self.refuse_where_fixed(is_owner)
        may_change = self.may_change_model(is_owner)
        card = self._backend.choosing.card(
            model, context_tokens, token or None, asks_hub=may_change
        )
        return card if may_change else without_machine(card)

    def refuse_where_fixed(self, is_owner: bool) -> None:
        """Raise `NotAllowedError` for who may not change the model."""
        if not self.may_change_model(is_owner):
            raise NotAllowedError(
                "The model is fixed on this server.", "Use the one that is loaded."
            )

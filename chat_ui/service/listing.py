"""The models to choose from, as a list shows them: built in, loaded before, cached, suggested.

Nothing here asks the Hub or loads anything; verdicts come from the forecasts where they take no
time.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from chat_ui.errors import ModelError
from chat_ui.models import cached, checkpoint, names
from chat_ui.models.cached import CachedModel
from chat_ui.models.catalogue import CatalogueModel, catalogue
from chat_ui.models.forecast import Forecast
from chat_ui.models.quantization import Precision
from chat_ui.models.spec import ModelSpec
from chat_ui.service.cards import Choice, ChoiceGroup, Group
from chat_ui.service.forecasts import Forecasts, precision_name

# In the order in which a list shows them.
_GROUPS: Final[tuple[Group, ...]] = ("here", "fits", "tight", "no", "unknown")
# Of these, the first that fits is suggested: our own 8-bit is for who has seen the others.
_SUGGESTED: Final[tuple[Precision, ...]] = ("full", "8bit", "4bit")


class Listing:
    """All methods block, and may be called from any thread.

    Args:
        loaded: gives the models that were loaded here.
        forecasts: of this server.
    """

    def __init__(self, loaded: Callable[[], Iterable[ModelSpec]], forecasts: Forecasts) -> None:
        self._loaded = loaded
        self._forecasts = forecasts
        self._counting = threading.Lock()

    def groups(self) -> list[ChoiceGroup]:
        """The models there are without asking the Hub, in groups; small ones first in each.

        The catalogue's models are forecast in the background: those that are not yet are in a group
        of their own, and in another one the next time.
        """
        threading.Thread(target=self._count_all, name="catalogue-count", daemon=True).start()
        here = {choice.id: choice for choice in self._here()}
        rest = [self.of_catalogue(one) for one in catalogue() if one.id not in here]
        groups: dict[Group, list[Choice]] = {kind: [] for kind in _GROUPS}
        groups["here"] = list(here.values())
        for choice in rest:
            groups[choice.verdict or "unknown"].append(choice)
        return [
            ChoiceGroup(kind, tuple(sorted(found, key=lambda c: c.parameters or 0)))
            for kind, found in groups.items()
            if found
        ]

    def of_catalogue(self, one: CatalogueModel) -> Choice:
        """A model that the app suggests."""
        choice = Choice(
            id=one.id,
            label=one.label,
            parameters=one.parameters,
            active_parameters=one.active_parameters,
            context_tokens=one.context_tokens,
            licence=one.licence,
            is_gated=one.is_gated,
            tags=one.tags,
            about=one.purpose,
        )
        return self._judged(choice, one.config)

    def _here(self) -> Iterator[Choice]:
        """What is on this machine: loaded before, and in the Hub's cache."""
        listed = {one.id: one for one in catalogue()}
        on_disk = {one.id: one for one in cached.cached()}
        for spec in self._loaded():
            if spec.id not in on_disk and (choice := self._of_folder(spec)) is not None:
                yield choice
        for one in on_disk.values():
            yield self._of_cache(one, listed.get(one.id))

    def _of_folder(self, spec: ModelSpec) -> Choice | None:
        choice = replace(by_name(spec.id, spec.label), is_here=True)
        if spec.folder is None:
            return choice
        try:
            known = checkpoint.read(spec.folder)
        except ModelError:  # it was deleted meanwhile
            return None
        return self._judged(replace(choice, parameters=known.parameters), known.config)

    def _of_cache(self, one: CachedModel, listed: CatalogueModel | None) -> Choice:
        choice = self.of_catalogue(listed) if listed else Choice(one.id, one.id)
        here = replace(choice, is_here=True, disk_bytes=one.disk_bytes, parameters=one.parameters)
        return self._judged(here, one.config)

    def _judged(self, choice: Choice, config: Mapping[str, Any]) -> Choice:
        """With a verdict, where that takes no time."""
        if not config or not self._forecasts.is_known(config):
            return choice
        try:
            return with_verdict(choice, self._forecasts.forecast(config))
        except ModelError:
            return choice

    def _count_all(self) -> None:
        """Count the catalogue's models, once."""
        if not self._counting.acquire(blocking=False):
            return
        try:
            for one in catalogue():
                try:
                    self._forecasts.architecture(one.config)
                except ModelError:  # this transformers is older than the catalogue
                    continue
        finally:
            self._counting.release()


def by_name(model_id: str, label: str) -> Choice:
    """What a name says, until more is known."""
    reading = names.read_name(model_id)
    if reading is None:
        return Choice(model_id, label)
    return Choice(model_id, label, reading.total_parameters, reading.active_parameters)


def with_verdict(choice: Choice, whole: Forecast | None) -> Choice:
    """With the first precision that fits, or else the smallest."""
    if whole is None:
        return choice
    verdicts = {
        precision: whole.precisions[name].verdict
        for precision in _SUGGESTED
        if (name := precision_name(precision, whole.full)) in whole.precisions
        and whole.precisions[name].is_honest
    }
    for wanted in ("fits", "tight"):
        for precision, verdict in verdicts.items():
            if verdict == wanted:
                return replace(choice, verdict=verdict, precision=precision)
    smallest = list(verdicts)[-1]
    return replace(choice, verdict=verdicts[smallest], precision=smallest)

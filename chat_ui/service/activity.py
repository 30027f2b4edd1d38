"""What has the cores: so that whoever measures knows whether something came in between."""

import threading


class Activity:
    """Counts beginnings and ends. Two equal marks: nothing began or ended between them.

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loads = self._probes = self._answers = 0

    @property
    def work(self) -> int:
        """The mark of loads and probes."""
        return self._loads + self._probes

    @property
    def is_working(self) -> bool:
        """Whether a load or a probe is under way: each has begun once more than it has ended."""
        return self._loads % 2 == 1 or self._probes % 2 == 1

    @property
    def answers(self) -> int:
        """The mark of answers."""
        return self._answers

    def note_load(self) -> None:
        """A load begins or ends."""
        with self._lock:
            self._loads += 1

    def note_probe(self) -> None:
        """A measurement of the machine begins or ends."""
        with self._lock:
            self._probes += 1

    def note_answer(self) -> None:
        """A reply is given a model, or has it no more."""
        with self._lock:
            self._answers += 1

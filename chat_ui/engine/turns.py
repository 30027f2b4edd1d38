"""Who is next: owners take turns, and each owner's own requests come in their order.

Standard library only. It knows ids and owners; what a turn is worth is the engine's business.
"""

from collections import OrderedDict, deque


class Turns:
    """Requests that wait. One thread uses it.

    An owner who asks for the first time queues behind the other owners; one whose request was taken
    goes behind them, too. So whoever sends a hundred requests holds up nobody by more than one.
    """

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, deque[str]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._by_owner)

    def add(self, owner: str, request_id: str) -> None:
        """Let a request wait behind its owner's others."""
        self._by_owner.setdefault(owner, deque()).append(request_id)

    def first(self) -> str:
        """The request whose turn it is; there must be one."""
        return next(iter(self._by_owner.values()))[0]

    def take(self) -> str:
        """Take the request whose turn it is; its owner's next one waits for the others' turns."""
        owner, own = self._by_owner.popitem(last=False)
        request_id = own.popleft()
        if own:
            self._by_owner[owner] = own
        return request_id

    def discard(self, owner: str, request_id: str) -> None:
        """Forget a request, whether it waits or not."""
        own = self._by_owner.get(owner)
        if own is not None and request_id in own:
            own.remove(request_id)
            if not own:
                del self._by_owner[owner]

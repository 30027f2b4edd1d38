"""What the service opens on its first use: the data folder, the store, the models, the replies."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from chat_ui.engine.protocol import LoadEngine
from chat_ui.errors import StartupError
from chat_ui.history.room import Room
from chat_ui.history.store import Store
from chat_ui.models import drafts, memory
from chat_ui.models.spec import BUILT_IN_ID, FoldersByName, ModelSpec, find
from chat_ui.service.activity import Activity
from chat_ui.service.choosing import Choosing
from chat_ui.service.forecasts import Forecasts
from chat_ui.service.host import ModelHost
from chat_ui.service.instruments import Instruments, on_thread_that_ends
from chat_ui.service.machine import ThisMachine
from chat_ui.service.purge import Purge
from chat_ui.service.replies import Replies
from chat_ui.service.tally import Tally
from chat_ui.service.temporary import Lifetimes, Stores
from chat_ui.settings import Settings

LOCK_FILE: Final = "in-use.lock"
# Where strangers come, their messages begin a load that failed again no sooner.
RETRY_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts behind the service, put together."""

    stores: Stores
    lifetimes: Lifetimes
    host: ModelHost
    replies: Replies
    forecasts: Forecasts
    choosing: Choosing
    purge: Purge
    lock: FileLock


def open_backend(
    settings: Settings,
    load: LoadEngine,
    instruments: Instruments,
    gone: Callable[[], None],
    tally: Tally,
) -> Backend:
    """Open the data folder and put the parts together; loads nothing.

    Args:
        settings: the app's.
        load: loads a model.
        instruments: count models and measure this machine.
        gone: called once conversations are gone for good.
        tally: told of each answer that has ended.

    Raises:
        StartupError: the data folder can't be used.
        ModelError: there is no such model, or its files are no good.
    """
    find_model = FoldersByName() if settings.is_public else find
    first = find_model(settings.model)
    if settings.draft_model not in ("", drafts.AUTO):
        find(settings.draft_model)  # who mistypes it is told at the start
    limits = settings.limits
    room = Room(
        limits.conversations_per_visitor,
        limits.kept_mb_per_visitor * 1_000_000,
        limits.kept_mb * 1_000_000,
    )
    lock = _lock(settings.data_dir)
    try:
        store = Store.open(settings.data_dir, room)
        store.interrupt_writing()
    except Exception:
        lock.release()  # else the next try would blame another process
        raise
    # Both are asked only once there is a host, which needs them.
    activity = Activity()
    machine = ThisMachine(settings.data_dir, instruments, lambda: host.is_quiet, activity)
    if settings.is_zero_gpu:
        machine.close()  # there is no GPU to measure between answers
    forecasts = Forecasts(
        machine,
        instruments,
        store.measurements,
        lambda: on_thread_that_ends(
            lambda: memory.leaving_bytes(host.resident_bytes, machine.kind)
        ),
        settings.model_memory_bytes,
        activity,
    )
    host = _make_host(settings, load, first, find_model, forecasts, activity)
    stores = Stores(store, Store.in_memory(replace(room, conversations=0)))
    lifetimes = Lifetimes(stores.temporary, lambda owner, id_: replies.get(owner, id_), gone)
    replies = Replies(settings, stores, host, forecasts.answered, activity, lifetimes.used, tally)
    choosing = Choosing(lambda: list(host.known.values()), forecasts, find_model)
    purge = Purge(stores, lifetimes, replies, limits.kept_hours, gone)
    purge.start()
    return Backend(stores, lifetimes, host, replies, forecasts, choosing, purge, lock)


def _make_host(
    settings: Settings,
    load: LoadEngine,
    first: ModelSpec,
    find_model: Callable[[str], ModelSpec],
    forecasts: Forecasts,
    activity: Activity,
) -> ModelHost:
    host = ModelHost(
        first,
        settings.precision,
        load,
        find_model=find_model,
        draft_for=lambda spec, load: drafts.choose(
            settings.draft_model, spec, list(host.known.values()), load, asks_hub=load.asks_hub
        ),
        loaded=forecasts.loaded,
        budget_bytes=settings.model_memory_bytes,
        unload_after_s=settings.unload_after_s,
        tries_again=settings.model_is_fixed,  # nobody could choose another one
        retry_pause_s=RETRY_PAUSE_S if settings.model_is_fixed else 0.0,
        asks_hub_again=settings.allows_hub or not settings.is_public,
        activity=activity,
        unmeasured=forecasts.machine.unmeasured,
    )
    built_in = find(BUILT_IN_ID)
    host.known.setdefault(built_in.id, built_in)
    return host


def _lock(data_dir: Path) -> FileLock:
    """Hold the data folder: a second process would take the first one's answers for cut off.

    Raises:
        StartupError: another process holds it, or the folder can't be written.
    """
    lock = FileLock(data_dir / LOCK_FILE, mode=0o600, thread_local=False)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StartupError(
            f"The data folder {data_dir} is used by another chat_ui.",
            "Stop that one, or give another folder: --data-dir DIR.",
        ) from error
    except OSError as error:
        raise StartupError(
            f"The data folder {data_dir} can't be written.", "Give another one: --data-dir DIR."
        ) from error
    return lock

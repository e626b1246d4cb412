"""Deliver what lies in a folder of outboxes: once, for `aquin-nb sync`, or as long as a board serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..cards.events import NOBODY
from ..errors import NetworkError, OutputError
from .adopt import Adoption, Report
from .client import Client
from .delivery import Delivery
from .outbox import Outbox

PAUSE = 0.25
LOOK_SECONDS = 30.0
STOP_SECONDS = 2.0


def adopt_while_serving(directory: Path, url: str, token: str) -> Callable[[], None]:
    """Deliver what killed processes leave in a folder to the board that serves at `url`, in the background.

    Returns:
        what ends it.
    """
    adoption = Adoption(directory, url, token, lambda type, data: _tell(directory, type, data))
    adoption.watch(LOOK_SECONDS)
    return lambda: adoption.stop(STOP_SECONDS)


def _tell(folder: Path, type: str, data: dict[str, object]) -> None:
    """Leave an event in an outbox of its own, for the next look."""
    with Outbox(folder) as outbox:
        outbox.log(type, NOBODY, data)


def drain(
    directory: str | Path, url: str, token: str | None, wait: float, say: Callable[[str], object] = lambda text: None
) -> Report:
    """Deliver every outbox in a folder whose process is gone, also those that were meant for another board.

    It waits for those whose process lives.

    Args:
        wait: seconds after which it gives up; what is left stays where it is.
        say: called with a sentence about each thing that went wrong, once.

    Raises:
        OutputError: there is no such folder. NetworkError: `url` is no address.
    """
    folder = Path(directory).expanduser()
    if not folder.is_dir():
        raise OutputError(f"{folder} is no folder; --outbox names the one that a session's outboxes are in.")
    deadline = time.monotonic() + wait
    total, said, told = Report(), set[str](), list[str]()

    def tell(type: str, data: dict[str, object]) -> None:
        _tell(folder, type, data)
        told.append(type)

    delivery = Delivery(Client(url, token))
    adoption = Adoption(folder, url, token, tell, everyone=True)
    while True:
        told.clear()
        found = adoption.drain(delivery, deadline)
        total.delivered += found.delivered
        total.redirected += found.redirected
        total.waiting, total.owned, total.dead, total.problems = found.waiting, found.owned, found.dead, found.problems
        for problem in found.problems:
            if problem not in said:
                said.add(problem)
                say(problem)
        left = found.waiting or found.owned or told
        if not left or delivery.state in ("refused", "incompatible") or time.monotonic() >= deadline:
            break
        time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))
    delivery.client.close()
    return total


def report(found: Report, directory: str | Path) -> str:
    """What was done, in a sentence.

    Raises:
        NetworkError: something is left.
    """
    done = f"{found.delivered:,} events were delivered"
    if found.dead:
        done += f"; {found.dead:,} that the orchestrator refused for good are kept in {directory}"
    for board, count in sorted(found.redirected.items()):
        done += f"; {count:,} of the outboxes {'was' if count == 1 else 'were'} meant for {board}"
    if found.waiting:
        raise NetworkError(f"{done}; {found.waiting:,} events or outboxes are left in {directory}. Run it again later.")
    if found.owned:
        raise NetworkError(
            f"{done}; {found.owned:,} outboxes with events belong to running processes, which deliver them themselves."
        )
    return f"{done}; nothing is left."

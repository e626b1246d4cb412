"""Who tells: one producer is one process life, with an identifier of its own and proof of whether it still lives."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any


def uuid7() -> str:
    """A UUID that sorts by the clock (RFC 9562, version 7, with a sub-millisecond fraction).

    >>> uuid7()[14]
    '7'
    """
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    noise = int.from_bytes(os.urandom(8), "big") >> 2
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | 7 << 76 | (rest << 12) // 1_000_000 << 64 | 2 << 62 | noise
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def now() -> str:
    """The time as RFC 3339, in UTC; for people to read, never for order."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Stamps:
    """Identifier and time of one producer's events, as they stand in their text.

    Cheaper than `uuid7` and `now`: what tells two events of one process apart is a counter, not noise.
    """

    def __init__(self) -> None:
        noise = os.urandom(6).hex()
        self._salt = f"7{noise[:3]}-{'89ab'[int(noise[3], 16) % 4]}{noise[4:7]}-{noise[7:11]}"
        self._numbers = itertools.count()
        self._second = (-1, "")

    def next(self) -> str:
        """A UUIDv7 (RFC 9562, with a counter at its end) and the time in UTC, as two members of a JSON object."""
        nanoseconds = time.time_ns()
        second, rest = divmod(nanoseconds, 1_000_000_000)
        of, text = self._second
        if of != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second, text
        clock = f"{nanoseconds // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}"
        number = next(self._numbers) & 0xFFFF_FFFF
        return f'"id":"{clock[:8]}-{clock[8:]}-{self._salt}{number:08x}","time":"{text}.{rest // 1000:06d}+00:00"'


@dataclass(frozen=True)
class Producer:
    """One process life.

    Attributes:
        born: the process' start in clock ticks since the machine's, which tells it from a later one with its pid.
        kernel: the notebook kernel it is, the same after a restart; empty outside of notebooks.
    """

    id: str
    pid: int
    host: str
    born: str
    started_at: str
    kernel: str

    @property
    def source(self) -> str:
        return f"urn:aquin:{self.id}"

    @classmethod
    def here(cls) -> Producer:
        """A new one for this process."""
        pid = os.getpid()
        return cls(uuid7(), pid, socket.gethostname(), _born(pid), now(), kernel_id())

    @classmethod
    def read(cls, told: dict[str, Any]) -> Producer:
        """From what an outbox says of its owner; what it does not say is empty."""
        known = {name: str(told.get(name, "")) for name in ("id", "host", "born", "started_at", "kernel")}
        return cls(pid=int(told.get("pid") or 0), **known)

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def provably_alive(self) -> bool:
        """Whether its very process runs on this machine; False also where nobody can know."""
        return self.host == socket.gethostname() and self.born != "" and _born(self.pid) == self.born


def _born(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            return stream.read().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def kernel_id() -> str:
    """The id of the notebook kernel that this process is, else an empty text."""
    kernel = running_kernel()
    try:
        file = str(kernel.config["IPKernelApp"]["connection_file"])
    except (AttributeError, KeyError, TypeError):
        return ""
    return os.path.basename(file).removeprefix("kernel-").removesuffix(".json")  # noqa: PTH119  a name, not a path


def running_kernel() -> Any:
    """The ipykernel this process is, or None; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)

"""The outbox of a process: `log` an event and it is kept, whatever becomes of process, disk, network and server."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cards.events import NOBODY
from .client import Client, Find, board_of
from .journal import Damaged, Journal
from .sender import Sender
from .status import State, SyncStatus

log = logging.getLogger("aquin_nb.sync")

GROUP_SECONDS = 0.5
"""How long progress waits for the disk; a power cut takes no more than about a second of it."""

AT_EXIT_SECONDS = 2.0
LAST_TRY_SECONDS = 0.5
"""How long the end waits for an orchestrator that did not answer when it was last asked."""


class Outbox:
    """Events of this process in a folder, and a thread that delivers them.

    What `log` returned a number for survives the process being killed; starts, results, artifacts and gaps survive a
    power cut too, and progress does after about a second. On a full disk events are kept in memory (64 MiB), starts
    and results in room that was reserved for them (8 MiB); what does not fit is counted, and told as `sync.gap`.
    It never raises into the work that tells. A forked child tells as a producer of its own.

    Args:
        directory: shared by any number of processes; what killed ones left there is delivered too.
        url: of an orchestrator; without one events only gather, until `aquin-nb sync` or another outbox delivers them.
        token: its bearer token.
        room: where the cards belong.
        find: says where the orchestrator is now, and its token, when it is not reached; None where it is not known.
            With it events are meant for whatever board the folder has, and any may take over what a killed process
            left; else for the one at `url` alone.

    Raises:
        NetworkError: `url` is not an address.

    >>> outbox = Outbox("spool", "http://127.0.0.1:8600", token)                                  # doctest: +SKIP
    >>> outbox.log("card.progress", card_id, {"point": {"step": 1, "fvu": 0.4}})                  # doctest: +SKIP
    1
    """

    def __init__(
        self,
        directory: str | Path,
        url: str | None = None,
        token: str | None = None,
        *,
        room: str = "default",
        find: Find | None = None,
    ) -> None:
        self.directory = Path(directory).expanduser()
        self._url, self._token, self._room, self._find = url, token, room, find
        if url is not None:
            Client(url, token).close()  # refuses what is no address, now
        self._closed = False
        self._problem = ""
        self._begin()
        _ALIVE.add(self)

    def _begin(self) -> None:
        """Become a producer with nothing told yet."""
        self._beginning = threading.RLock()
        self._keep = threading.Event()
        self._keeper: threading.Thread | None = None
        self._sender: Sender | None = None
        board = board_of(self._url) if self._url is not None and self._find is None else ""
        self._journal: Journal | None = Journal(self.directory, self._room, board)
        if self._url is not None:
            self._sender = Sender(self._journal, self._url, self._token, self._tell_loss, self._find)

    def log(
        self,
        type: str,
        subject: str,
        data: Mapping[str, Any],
        *,
        attempt: int = 1,
        attached: tuple[str, bytes] | None = None,
    ) -> int:
        """Keep one event; it is on disk when this returns.

        Args:
            type: tool.start, card.progress, card.snapshot, tool.result, card.artifact, or one of your own.
            subject: the card.
            data: anything that JSON can say; NaN and infinities become text. What is larger than an event may be goes
                as a blob, under its hash.
            attached: media type and bytes that are kept beside the event; its data gain `sha256`, `bytes` and
                `media_type`. Not while the disk is full: then the event goes alone.

        Returns:
            its sequence, from 1; 0 when it is not on disk: `status()` says why, and whether memory has it.
        """
        try:
            if self._closed:
                self._problem = "Events were told after the outbox was closed; they were not kept."
                return 0
            journal = self._journal or self._again(None)
            try:
                sequence = journal.keep(type, subject, data, attempt, attached)
            except Damaged as error:
                self._problem = str(error)
                journal = self._again(journal)
                sequence = journal.keep(type, subject, data, attempt, attached)
            if not self._keep.is_set():
                self._wake_keeper()
            sender = self._sender
            if sender is not None and not sender.wake.is_set():
                sender.wake.set()
            return sequence
        except Exception as error:  # a defect of ours must not end a training
            self._problem = f"An event was not kept: {type_name(error)}: {error}."
            return 0

    def _again(self, damaged: Journal | None) -> Journal:
        """A new producer: in a forked child, or after a file that can no longer be written to."""
        with self._beginning:
            if self._journal is not damaged and self._journal is not None:
                return self._journal
            if damaged is not None:
                if self._sender is not None:
                    self._sender.stop(0.0)
                damaged.abandon()  # the adoption of orphans delivers what can be read of it
            keep = self._keep
            self._begin()
            keep.set()  # its thread sees that it is no longer the keeper
            assert self._journal is not None
            if damaged is not None:
                self._journal.inherit(damaged.ring)
            return self._journal

    def _tell_loss(self, type: str, data: dict[str, object]) -> int:
        return self.log(type, NOBODY, data)

    def _wake_keeper(self) -> None:
        self._keep.set()
        if self._keeper is None:
            keeper = threading.Thread(target=self._tend, args=(self._keep,), name="aquin-nb outbox", daemon=True)
            self._keeper = keeper
            with contextlib.suppress(RuntimeError):  # the interpreter is ending: `close` does what it would have done
                keeper.start()

    def _tend(self, keep: threading.Event) -> None:
        """The keeper's thread: what `log` leaves for later."""
        while not self._closed and self._keep is keep:
            keep.wait()
            time.sleep(GROUP_SECONDS)
            journal = self._journal
            if journal is None:
                return
            keep.clear()
            try:
                journal.tend()
            except Exception as error:
                self._problem = f"The outbox stumbled: {type_name(error)}: {error}."
            if journal.ring.active and not self._closed:
                keep.set()
                if self._sender is not None:
                    self._sender.wake.set()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything told so far is delivered, at most `timeout` seconds; whether it is."""
        deadline = time.monotonic() + timeout
        if self._journal is not None:
            self._journal.sync()
        if self._sender is not None and not self._closed:
            self._sender.hurry()
        while self.pending():
            left = deadline - time.monotonic()
            if left <= 0 or self._sender is None or self._closed:
                return False
            time.sleep(min(left, 0.005))
        return True

    def pending(self) -> int:
        """Events that no orchestrator has confirmed, those left out that it refused for good."""
        if self._journal is None:
            return 0
        done = self._sender.feed.delivered + self._sender.feed.buried if self._sender is not None else 0
        return max(0, self._journal.told() - done)

    def status(self) -> SyncStatus:
        """How things stand; costs nothing."""
        journal, sender = self._journal, self._sender
        state: State = "closed" if self._closed else "off" if sender is None else sender.delivery.state
        contact = sender.delivery.contact if sender is not None else None
        told = [
            journal.problem if journal is not None else "",
            sender.delivery.problem if sender is not None else "",
            self._problem,
        ]
        return SyncStatus(
            state=state,
            pending=self.pending(),
            in_memory=len(journal.ring) if journal is not None else 0,
            delivered=sender.feed.delivered if sender is not None else 0,
            dead=sender.feed.buried + sender.feed.refused_blobs if sender is not None else 0,
            lost=journal.lost if journal is not None else 0,
            problem=" ".join(one for one in told if one),
            seconds_since_contact=None if contact is None else time.monotonic() - contact,
            url=sender.delivery.client.shown if sender is not None else "",
            path=str(journal.path if journal is not None else self.directory),
            elsewhere=dict(sender.adoption.elsewhere) if sender is not None else {},
        )

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing is kept any more."""
        return self._closed

    @property
    def source(self) -> str:
        """The producer that this process is, as its events name it."""
        return (self._journal or self._again(None)).producer.source

    def close(self, timeout: float = AT_EXIT_SECONDS) -> None:
        """Deliver what can be delivered within `timeout` seconds and end; the rest stays for whoever comes next."""
        if self._closed:
            return
        deadline = time.monotonic() + timeout
        there = self._sender is None or self._sender.delivery.state in ("connecting", "connected")
        self.flush(timeout if there else min(timeout, LAST_TRY_SECONDS))
        self._closed = True
        _ALIVE.discard(self)
        self._keep.set()
        if self._sender is not None:
            self._sender.stop(max(0.1, min(1.0, deadline - time.monotonic())))
        if self._journal is not None:
            self._journal.close()
            if left := len(self._journal.ring):
                log.warning("Events that memory alone had are lost: %s. %s", f"{left:,}", self._journal.problem)

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Outbox {self.directory}: {self.status()}>"

    def _after_fork_in_child(self) -> None:
        if self._journal is not None:
            self._journal.after_fork_in_child()
        self._journal = self._sender = self._keeper = None
        self._keep, self._beginning = threading.Event(), threading.RLock()


def type_name(error: BaseException) -> str:
    """The name of an error's class."""
    return type(error).__name__


_ALIVE: set[Outbox] = set()
_FORKING: list[tuple[Outbox, Journal | None]] = []


def _at_exit() -> None:
    deadline = time.monotonic() + AT_EXIT_SECONDS
    for outbox in list(_ALIVE):
        try:
            outbox.close(max(0.05, deadline - time.monotonic()))
        except Exception:  # the others are closed all the same
            log.exception("an outbox could not be closed; what it holds on disk is adopted later")


def _before_fork() -> None:
    _FORKING[:] = [(outbox, outbox._journal) for outbox in sorted(_ALIVE, key=id)]
    for _, journal in _FORKING:
        if journal is not None:
            journal.before_fork()


def _after_fork_in_parent() -> None:
    for _, journal in reversed(_FORKING):
        if journal is not None:
            journal.after_fork_in_parent()
    _FORKING.clear()


def _after_fork_in_child() -> None:
    for outbox, _ in _FORKING:
        outbox._after_fork_in_child()
    _FORKING.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)

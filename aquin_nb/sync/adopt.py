"""Outboxes that killed processes left: taken over once their owners are gone for certain, delivered and removed."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from .client import Client, board_of
from .delivery import Delivery
from .feed import Feed, SpoolFeed
from .identity import Producer
from .lease import Lease
from .salvage import SalvagedFeed, salvage
from .spool import BESIDE, SUFFIX, NewerFormat, Spool

log = logging.getLogger("aquin_nb.sync")

LATE = "There was no time for all of it."

Tell = Callable[[str, dict[str, object]], object]
"""Tells that events are lost: a type and its data."""


@dataclass
class Report:
    """What became of the outboxes in a folder.

    waiting: events that are still there. owned: outboxes whose processes live and deliver themselves.
    elsewhere: outboxes by the address of the board that they are meant for and wait for. redirected: those that were
    delivered all the same, because a person asked for it.
    """

    delivered: int = 0
    dead: int = 0
    waiting: int = 0
    owned: int = 0
    problems: list[str] = field(default_factory=list)
    elsewhere: Counter[str] = field(default_factory=Counter)
    redirected: Counter[str] = field(default_factory=Counter)


class Adoption:
    """Delivers orphaned outboxes of a folder, in a thread of its own when asked to `begin` or `watch`.

    Those that are meant for the board at `url` or for any; all of them with `everyone`. Of a damaged one that no longer
    says whom it is meant for, whoever comes first delivers what can be read.

    Attributes:
        elsewhere: at the last look, how many wait for which other board.
    """

    def __init__(self, directory: Path, url: str, token: str | None, tell: Tell, *, everyone: bool = False) -> None:
        self._directory, self._tell, self._everyone = directory, tell, everyone
        self.elsewhere: Counter[str] = Counter()
        self._said: set[str] = set()
        self.aim(url, token)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def aim(self, url: str, token: str | None) -> None:
        """Deliver to this board from the next look on."""
        self._url, self._token, self._board = url, token, board_of(url)

    def begin(self) -> None:
        """Look for orphans, unless it is at it already."""
        if self._thread is not None and self._thread.is_alive():
            return
        if not self._stopping.is_set() and any(self._directory.glob(f"*{SUFFIX}")):
            thread = threading.Thread(target=self._quietly, name="aquin-nb adoption", daemon=True)
            thread.start()  # before `stop`, from another thread, can see it: it joins what it sees
            self._thread = thread

    def watch(self, seconds: float) -> None:
        """Look for orphans now and every so many seconds, until `stop`."""
        thread = threading.Thread(target=self._watch, args=(seconds,), name="aquin-nb adoption", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self, timeout: float = 0.0) -> None:
        """End it, waiting for its thread no longer than `timeout` seconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _watch(self, seconds: float) -> None:
        while not self._stopping.is_set():
            self._quietly()
            self._stopping.wait(seconds)

    def _quietly(self) -> None:
        delivery = Delivery(Client(self._url, self._token))
        with contextlib.suppress(OSError, apsw.Error):  # a look every few seconds: the next one tries again
            found = self.drain(delivery, time.monotonic() + 3600)
            self.elsewhere = found.elsewhere
            for problem in set(found.problems) - self._said - {delivery.problem, LATE}:
                self._said.add(problem)
                log.warning(problem)
        delivery.client.close()

    def drain(self, delivery: Delivery, deadline: float) -> Report:
        """Deliver every outbox whose owner is gone, until `deadline` (of `time.monotonic`)."""
        report = Report()
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            lease_path = path.with_suffix(".lease")
            known = lease_path.exists()
            try:
                lease = Lease.take(lease_path, create=not known)
            except FileNotFoundError:
                continue  # its owner has just ended, or somebody else delivered it
            except OSError as error:
                report.problems.append(f"{path.name} cannot be taken over: {error.strerror}.")
                report.waiting += 1
                continue
            if lease is None:
                report.owned += bool(waiting_in(path))
                continue
            try:
                if not path.exists() or self._adopt(path, delivery, deadline, report, known):
                    lease.release(remove=True)
            finally:
                lease.release()
        return report

    def _adopt(self, path: Path, delivery: Delivery, deadline: float, report: Report, known: bool) -> bool:
        """Deliver one outbox; whether it is done with and gone."""
        if known:
            path.with_suffix(".reserve").unlink(missing_ok=True)  # its owner is gone; a full disk needs the room
        try:
            spool = Spool.open(path)
        except NewerFormat:
            report.problems.append(
                f"{path.name} was written by a newer aquin-nb; update this one (pip install -U aquin-nb) to deliver it."
            )
            report.waiting += 1
            return False
        except LookupError:
            Spool(path).remove()
            path.with_suffix(".reserve").unlink(missing_ok=True)
            return True
        except apsw.FullError:
            report.problems.append(f"{path.name} cannot be opened: the disk is full.")
            report.waiting += 1
            return False
        except apsw.Error:
            return self._rescue(path, delivery, deadline, report)
        redirected = ""
        try:
            producer = spool.producer()
            if not known and producer.provably_alive():
                report.owned += 1  # somebody removed its lease, which proves nothing then
                return False
            board = spool.board()
            if spool.remote and producer.host != socket.gethostname() and not self._everyone:
                # There a lock that is free proves nothing about a process of another machine.
                report.elsewhere[f"`aquin-nb sync` (left by {producer.host})"] += 1
                return False
            if board not in ("", self._board):
                if not self._everyone:
                    if spool.counts()[0]:
                        report.elsewhere[board] += 1
                    return False  # also one that is empty: its own board is still to hear that its owner is gone
                redirected = board
            feed = SpoolFeed(spool)
            self._beat(delivery, producer, feed)
            done = self._deliver(feed, delivery, deadline)
            feed.trim()
            self._beat(delivery, producer, feed)
            waiting, dead = spool.counts()
            if done and not feed.buried:
                waiting = 0  # all of it is there, though a full disk may not let us say so in the file
        except (apsw.CorruptError, apsw.NotADBError):
            spool.close()
            return self._rescue(path, delivery, deadline, report)
        finally:
            with contextlib.suppress(apsw.Error, OSError):
                spool.close()
        if redirected and feed.delivered:
            report.redirected[redirected] += 1
        report.delivered += feed.delivered
        report.dead += dead
        report.waiting += waiting
        if not done:
            report.problems.append(delivery.problem or LATE)
        path.with_suffix(".reserve").unlink(missing_ok=True)
        if waiting or dead:
            return False
        for suffix in BESIDE:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return True

    def _rescue(self, path: Path, delivery: Delivery, deadline: float, report: Report) -> bool:
        """Deliver what can be read of a damaged outbox, tell what cannot, and put the file out of the way."""
        found = salvage(path)
        feed = SalvagedFeed(found.rows)
        done = self._deliver(feed, delivery, deadline)
        report.delivered += feed.delivered
        report.dead += feed.buried
        if not done:
            report.waiting += len(found.rows) - feed.delivered - feed.buried
            report.problems.append(delivery.problem or LATE)
            return False
        lost = "an unknown number of" if found.lost is None else f"{found.lost:,}"
        aside = path.with_suffix(".damaged")
        report.problems.append(
            f"{path.name} was damaged: {feed.delivered:,} events were delivered, {lost} could not be read. It is kept"
            f" as {aside.name}."
        )
        self._tell(
            "sync.gap",
            {"reason": f"the outbox {path.name} was damaged", "count": found.lost, "origin": f"urn:aquin:{path.stem}"},
        )
        path.rename(aside)
        for suffix in BESIDE[:-1]:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        path.with_suffix(".reserve").unlink(missing_ok=True)
        return True

    def _deliver(self, feed: Feed, delivery: Delivery, deadline: float) -> bool:
        """Whether everything was delivered in time."""
        while not self._stopping.is_set() and time.monotonic() < deadline:
            if delivery.step(feed):
                continue
            if feed.next(1) is None:
                return True
            if delivery.state in ("refused", "incompatible"):
                return False
            self._stopping.wait(max(0.01, min(delivery.delay(), deadline - time.monotonic())))
        return feed.next(1) is None

    def _beat(self, delivery: Delivery, producer: Producer, feed: SpoolFeed) -> None:
        """Say that it is dead, which is proven: its lease was free."""
        if delivery.delay():
            return
        fields: dict[str, object] = {"alive": False, "pid": producer.pid, "host": producer.host,
                                     "started_at": producer.started_at, "kernel": producer.kernel,
                                     "pending": feed.spool.counts()[0]}  # fmt: skip
        delivery.beat(producer.id, fields)


def waiting_in(path: Path) -> int:
    """How many events wait in the outbox of a process that lives; 0 where that cannot be seen."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error:
        return 0
    try:
        return int(connection.execute("SELECT count(*) FROM event").get)
    except apsw.BusyError:
        return 1  # its owner alone may look into it: it is on a network file system
    except apsw.Error:
        return 0
    finally:
        connection.close(True)

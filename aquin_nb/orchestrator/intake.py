"""How events go into the database: duplicates told apart, sequences followed, cards folded, all in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from .envelope import Event
from .fold import Attempt
from .storage import Conflict, Outcome

if TYPE_CHECKING:
    from .sql import SqlStorage

REMEMBERED: Final = 20_000
"""Cards and attempts kept in memory between transactions; beyond it they are read again."""


class Collision(Exception):
    """The database refused an id or a sequence that the fast path took for new."""


@dataclass
class _Source:
    ordinal: int
    contiguous: int
    highest: int
    fresh: dict[int, str] = field(default_factory=dict)  # sequence → id, of this transaction
    dropped: list[int] = field(default_factory=list)  # of these, the sequences of deleted cards


@dataclass
class _Card:
    ordinal: int
    newest: int  # cursor at which the newest attempt began
    number: int  # of the newest attempt


class Intake:
    """The writing half of a storage. What it remembers is only valid while it is the one writer."""

    def __init__(self, storage: SqlStorage) -> None:
        self._db = storage
        self.forget()

    def forget(self) -> None:
        """After a transaction that failed: everything is read again."""
        self._head: int | None = None
        self._sources: dict[str, _Source] = {}
        self._cards: dict[tuple[str, str], _Card] = {}
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._graves: dict[tuple[str, str], int] | None = None  # deleted cards: up to which attempt
        self._passing = False  # whether sequences are settled that no event holds

    def write(self, batches: Sequence[Sequence[Event]], now: float) -> list[Outcome]:
        """See `Storage.write`."""
        try:
            return self._write(batches, now, careful=False)
        except Collision:
            return self._write(batches, now, careful=True)

    def _write(self, batches: Sequence[Sequence[Event]], now: float, *, careful: bool) -> list[Outcome]:
        with self._db.transaction():
            if self._head is None:
                kept = self._db.run("SELECT value FROM meta WHERE name = 'head'")
                self._head = int(kept[0][0]) if kept else 0
            if self._graves is None:
                self._graves = {
                    (room, name): to for room, name, to in self._db.run("SELECT room, name, attempt FROM graves")
                }
                self._passing = bool(self._db.run("SELECT 1 FROM passed LIMIT 1"))
            sources = self._known_sources({event.source for batch in batches for event in batch})
            rows: list[tuple[Any, ...]] = []
            touched: dict[tuple[int, int], Attempt] = {}
            last: dict[int, int] = {}
            sizes: dict[str, list[int]] = {}
            ids: set[tuple[str, str]] = set()
            head = self._head
            outcomes = []
            for batch in batches:
                outcome = Outcome()
                for index, event in enumerate(batch):
                    source = sources[event.source]
                    verdict = self._verdict(event, source, ids, careful)
                    if (
                        verdict == "new"
                        and self._graves
                        and event.attempt <= self._graves.get((event.room, event.card), 0)
                    ):
                        source.fresh[event.sequence] = event.id
                        source.dropped.append(event.sequence)
                        outcome.duplicates, outcome.deleted = outcome.duplicates + 1, outcome.deleted + 1
                    elif verdict == "new":
                        head += 1
                        source.fresh[event.sequence] = event.id
                        ids.add((event.source, event.id))
                        card = self._card(event.room, event.card)
                        attempt = self._attempt(card, event.attempt, head)
                        attempt.take(event, head, now)
                        touched[card.ordinal, event.attempt] = attempt
                        last[card.ordinal] = head
                        owner = (head, source.ordinal, event.sequence, event.id, card.ordinal, event.attempt)
                        rows.append((*owner, event.type, now, event.body.decode()))
                        sizes.setdefault(event.room, []).append(len(event.body))
                        outcome.accepted += 1
                        outcome.changed.add((event.room, event.card))
                    elif verdict == "duplicate":
                        outcome.duplicates += 1
                    else:
                        outcome.rejected.append(Conflict(index, event.id, verdict))
                outcomes.append(outcome)
            if rows:
                self._db.insert_events(rows)
            self._keep(sources, touched, last, now)
            for room, held in sizes.items():
                self._db.use(room, len(held), sum(held))
            if head != self._head:
                self._db.set_head(head)
                self._head = head
        for batch, outcome in zip(batches, outcomes, strict=True):
            outcome.head = head
            outcome.next = {source: sources[source].contiguous for source in {event.source for event in batch}}
        for source in sources.values():
            source.fresh, source.dropped = {}, []
        if len(self._cards) + len(self._attempts) + len(self._sources) > REMEMBERED:
            self.forget()
        return outcomes

    def _known_sources(self, names: set[str]) -> dict[str, _Source]:
        for name in sorted(names - self._sources.keys()):
            found = self._db.run("SELECT ordinal, contiguous, highest FROM producers WHERE source = ?", (name,))
            found = found or self._db.run(
                "INSERT INTO producers (source, contiguous, highest, seen) VALUES (?, 0, 0, 0)"
                " RETURNING ordinal, contiguous, highest",
                (name,),
            )
            self._sources[name] = _Source(*found[0])
        return {name: self._sources[name] for name in names}

    def _verdict(self, event: Event, source: _Source, ids: set[tuple[str, str]], careful: bool) -> str:
        """ "new", "duplicate" or why it can never be kept."""
        held = source.fresh.get(event.sequence)
        if held is None and (careful or event.sequence <= source.highest):
            rows = self._db.run(
                "SELECT id FROM events WHERE producer = ? AND sequence = ?", (source.ordinal, event.sequence)
            )
            held = rows[0][0] if rows else None
            if held is None and (event.sequence <= source.contiguous or self._settled(source, event.sequence)):
                return "duplicate"  # it was here, and retention or somebody removed it
        if held is not None:
            if held == event.id:
                return "duplicate"
            return f"sequence {event.sequence} of this source is another event already: was its outbox copied?"
        taken = (event.source, event.id) in ids
        if careful and not taken:
            taken = bool(self._db.run("SELECT 1 FROM events WHERE producer = ? AND id = ?", (source.ordinal, event.id)))
        return "this id is another event of its source already" if taken else "new"

    def _settled(self, source: _Source, sequence: int) -> bool:
        found = self._passing and self._db.run(
            "SELECT 1 FROM passed WHERE producer = ? AND sequence = ?", (source.ordinal, sequence)
        )
        return bool(found)

    def _card(self, room: str, name: str) -> _Card:
        card = self._cards.get((room, name))
        if card is None:
            found = self._db.run("SELECT ordinal, newest, number FROM cards WHERE room = ? AND name = ?", (room, name))
            found = found or self._db.run(
                "INSERT INTO cards (room, name, newest, number, last) VALUES (?, ?, 0, 0, 0)"
                " RETURNING ordinal, newest, number",
                (room, name),
            )
            card = self._cards[room, name] = _Card(*found[0])
        return card

    def _attempt(self, card: _Card, number: int, cursor: int) -> Attempt:
        attempt = self._attempts.get((card.ordinal, number))
        if attempt is None:
            found = self._db.run("SELECT fold FROM attempts WHERE card = ? AND attempt = ?", (card.ordinal, number))
            attempt = Attempt.loaded(found[0][0]) if found else Attempt(number, first=cursor)
            self._attempts[card.ordinal, number] = attempt
            if not found and number > card.number:
                card.number, card.newest = number, cursor
                self._db.run(
                    "UPDATE cards SET number = ?, newest = ? WHERE ordinal = ?", (number, cursor, card.ordinal)
                )
        return attempt

    def _keep(
        self, sources: dict[str, _Source], touched: dict[tuple[int, int], Attempt], last: dict[int, int], now: float
    ) -> None:
        for source in sources.values():
            if source.dropped and max(source.highest, *source.fresh) > source.contiguous + len(source.fresh):
                self._db.settle((source.ordinal, one) for one in source.dropped)  # behind a hole
                self._passing = True
            self._advance(source)
            if self._passing:
                self._db.run(
                    "DELETE FROM passed WHERE producer = ? AND sequence <= ?", (source.ordinal, source.contiguous)
                )
            self._db.run(
                "UPDATE producers SET contiguous = ?, highest = ?, seen = ? WHERE ordinal = ?",
                (source.contiguous, source.highest, now, source.ordinal),
            )
        for (card, number), attempt in touched.items():
            self._db.run(
                "INSERT INTO attempts (card, attempt, first, source, ended, fold) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (card, attempt) DO UPDATE SET source = excluded.source, ended = excluded.ended,"
                " fold = excluded.fold",
                (card, number, attempt.first, attempt.source, int(attempt.ended), attempt.dumped().decode()),
            )
        for card, cursor in last.items():
            self._db.run("UPDATE cards SET last = ? WHERE ordinal = ?", (cursor, card))

    def _advance(self, source: _Source) -> None:
        """Move over what is contiguous now: first what just came, then what waited behind the hole."""
        if not source.fresh:
            return
        at = source.contiguous
        while at + 1 in source.fresh:
            at += 1
        waited = max(source.highest, max(source.fresh, default=0)) > at
        while waited and at > source.contiguous:
            rows = self._db.run(
                "SELECT sequence FROM events WHERE producer = ? AND sequence > ? UNION"
                " SELECT sequence FROM passed WHERE producer = ? AND sequence > ? ORDER BY 1 LIMIT 500",
                (source.ordinal, at, source.ordinal, at),
            )
            before = at
            for (sequence,) in rows:
                if sequence != at + 1:
                    break
                at += 1
            waited = at == before + 500
        source.contiguous = at
        source.highest = max(source.highest, at, *source.fresh)

"""Getting events to an orchestrator at least once: what is sent again, when, and what is given up."""

from __future__ import annotations

import random
import time

from ..cards.events import MAX_BATCH_EVENTS
from .client import Answer, Client
from .feed import Feed
from .status import State

FIRST_WAIT, LONGEST = 0.25, 30.0
PAUSED = 30.0
"""Seconds between looks at an orchestrator that refuses our token or speaks another version."""


class Delivery:
    """The state of one client's conversation with one orchestrator; for one thread.

    Attributes:
        contact: `time.monotonic` of the last answer. failed: whether the last request has to be repeated.

    A request without an answer, and answers 408, 425, 429 and 5xx, are repeated with full jitter (waiting a random
    share of a time that doubles up to 30 s) or after the time that Retry-After names. Nothing is ever given up but
    events that are refused by name, or alone in their batch.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.state: State = "connecting"
        self.problem = ""
        self.contact: float | None = None
        self.failed = False
        self._limit = MAX_BATCH_EVENTS
        self._failures = 0
        self._not_before = 0.0
        self._asked_to_wait = False

    def delay(self) -> float:
        """Seconds until it may speak again."""
        return max(0.0, self._not_before - time.monotonic())

    def hurry(self) -> None:
        """Try again at once, unless the orchestrator itself named a time."""
        if not self._asked_to_wait:
            self._not_before = 0.0

    def step(self, feed: Feed) -> bool:
        """Deliver one batch; False when there was none or it has to be repeated."""
        batch = feed.next(self._limit)
        if batch is None:
            return False
        for sha256, media_type, body in feed.blobs(batch.last):
            answer = self.client.put_blob(sha256, media_type, body)
            if answer.meaning in ("retry", "refused", "incompatible"):
                return self._failed(answer)
            # One that will never be taken must not hold up the event that names it.
            feed.blob_done(sha256, refused=answer.meaning != "taken")
        answer = self.client.send(batch.body, batch.count)
        if answer.meaning == "taken":
            feed.taken(batch, answer.rejected)
            self._limit = min(MAX_BATCH_EVENTS, self._limit * 2)
            self.reached()
            return True
        if answer.meaning == "poison" and answer.rejected:
            sequences = batch.sequences()
            named = [(sequences[at], reason) for at, reason in answer.rejected.items() if 0 <= at < len(sequences)]
            buried = [feed.bury(sequence, reason) for sequence, reason in named]
            if not buried or not all(buried):
                return self._failed(Answer("retry", answer.problem))
            return True
        if answer.meaning in ("poison", "too large"):
            self.problem = answer.problem
            if batch.count == 1:
                feed.taken(batch, {0: answer.problem})
            self._limit = max(1, batch.count // 2)
            return True
        return self._failed(answer)

    def beat(self, producer: str, fields: dict[str, object]) -> bool:
        """A heartbeat; whether it was heard. It also finds out whether anybody is there."""
        answer = self.client.beat(producer, dict(fields))
        if answer.meaning in ("retry", "refused"):
            return self._failed(answer)
        self.reached()
        return True

    def reached(self) -> None:
        """The orchestrator answered."""
        self.state, self.contact, self._failures, self._not_before = "connected", time.monotonic(), 0, 0.0
        self.problem, self._asked_to_wait, self.failed = "", False, False

    def _failed(self, answer: Answer) -> bool:
        self.problem, self.failed = answer.problem, True
        wait = answer.wait
        if answer.meaning == "retry":
            self.state = "waiting"
            longest = min(LONGEST, FIRST_WAIT * 2 ** min(self._failures, 16))
            self._failures += 1
        else:
            self.state = "refused" if answer.meaning == "refused" else "incompatible"
            longest = PAUSED
        self._asked_to_wait = wait is not None
        pause = max(wait, 0.01) if wait is not None else random.uniform(0.1 * longest, longest)
        self._not_before = time.monotonic() + pause
        return False

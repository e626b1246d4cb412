"""The live training monitor: a running job pushes points, every open view of it follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import traitlets as t
from numpy.typing import ArrayLike, NDArray

from ..cards import SaeTrainCard
from .base import AquinWidget
from .curves import elapsed, thinned
from .desk import Desk, Handler, Served
from .pace import Coalescer
from .protocol import BEAT_SECONDS, COLUMNS, MAX_POINTS, WIRE
from .views.train import MOST_OTHERS, other, points_answer

CURVE_POINTS: Final = 600  # in the synced trait, which a saved notebook may carry
RATE: Final = 10.0  # messages a second: each is drawn, and a curve that moves oftener costs more than it shows
UNHEARD_POINTS: Final = 1000  # in the snapshots sent before the first hello came through
UNHEARD_SECONDS: Final = 1.0

_TOKENS, _RATE, _SECONDS = (WIRE.index(name) for name in ("tokens", "tokens_per_second", "seconds"))
_OVER = ("completed", "failed", "cancelled")


class TrainingMonitor(AquinWidget):
    """Charts of a training run that move while it runs, its progress, a Cancel button, and the verdict at the end.

    `push` and `update` may be called from any thread, return at once and never raise into the caller; a failure is
    recorded in `error` and shown under the widget. Views get at most 20 messages a second and always the last state.

    Example:
        >>> monitor = TrainingMonitor(card, on_cancel=job.cancel)            # doctest: +SKIP
        >>> monitor.push([[100, 51_200, 0.8, 0.3, 0.7, 0.9, 32, 12, 3e-4, 0.1, 9e4]])  # doctest: +SKIP
        >>> card.finish("completed"); monitor.update(card)                   # doctest: +SKIP
    """

    bundle_name: ClassVar[str] = "monitor.js"

    summary = t.Dict().tag(sync=True)
    """The card as JSON: at the start, and again when the run is over."""

    curve = t.Bytes(b"").tag(sync=True)
    """Up to 600 points as column-major little-endian float64 [12, points] (`protocol.WIRE`), set when it is over."""

    def __init__(
        self,
        card: SaeTrainCard,
        on_cancel: Callable[[], None] | None = None,
        answers: Mapping[str, Handler] | None = None,
    ) -> None:
        """`answers`: what views may ask beside the points themselves, such as earlier trainings."""
        self._lock = threading.Lock()  # guards what push and update change
        self._sending = threading.Lock()  # one message at a time, in the order of their numbers
        self._points: NDArray[np.float64] = np.empty((len(WIRE), 256))
        self._rows = 0
        self._sent_rows = 0
        self._seq = -1
        self._wants_snapshot = False
        self._shown = False  # nothing is sent for a monitor that nobody displayed
        self._greeted = False
        self._last_whole = 0.0
        self._cancelling = False
        self._kept: dict[str, str] | None = None
        self._on_cancel = on_cancel
        self._card: dict[str, Any] = card.model_dump(mode="json")
        self._sent_card: dict[str, Any] = {}
        super().__init__(summary=self._card)
        self._pace = Coalescer(
            self._flush,
            rate=RATE,
            idle=self._beat,
            idle_seconds=BEAT_SECONDS,
            on_error=lambda error: self.fail(error, "sending to the notebook"),
        )
        served = Served({**(answers or {}), "points": points_answer(self._columns)})
        self._desk = Desk(self.send, lambda _view: served, self.fail)
        self.on_msg(self._receive)

    def push(self, points: ArrayLike) -> None:
        """Append metric points: float64 [n, 11] (or one [11]) with the columns of `protocol.COLUMNS`.

        `dead` is a number of latents, `recon_mse` the mean over rows of the squared error summed over d_in. NaN and
        infinite values are kept and drawn as gaps. Steps go up; a point whose step is not above the last one's comes
        from a run that was resumed, and replaces every point from its step on.
        """
        try:
            new = np.atleast_2d(np.asarray(points, dtype=np.float64))
            if new.ndim != 2 or new.shape[1] != len(COLUMNS):
                raise ValueError(f"points must be [n, {len(COLUMNS)}] ({', '.join(COLUMNS)}), got {list(new.shape)}")
            if len(new) == 0:
                return
            with self._lock:
                self._append(new.T)
            self._pace.mark()
        except Exception as error:  # a training must not die of its view
            self.fail(error, "taking metric points")

    def update(self, card: SaeTrainCard) -> None:
        """Show the card as it is now. One that is over (completed, failed, cancelled) is sent before this returns."""
        try:
            with self._lock:
                self._card = card.model_dump(mode="json")
                over = self._card["status"] in _OVER
            self._pace.mark()
            if over:
                self._pace.close()
                self._keep_summary()
        except Exception as error:
            self.fail(error, "taking the card")

    def keep(self, data: dict[str, str]) -> None:
        """The run is over: have the notebook hold `data` (by mime type) wherever this monitor is shown.

        A front end that cannot do so goes on showing the monitor's last state.
        """
        with self._lock:
            self._kept = data
        self._pace.mark()

    def compare(self, *trainings: Any) -> None:
        """Draw other trainings behind this one, in every view; without any, take them away.

        Args:
            trainings: results of `train`, up to seven; more than that cannot be told apart.

        >>> monitor.compare(before)                                              # doctest: +SKIP
        """
        self._desk.push("", "others", [other(one.card, one.history) for one in trainings[:MOST_OTHERS]])

    @property
    def history(self) -> pd.DataFrame:
        """All points so far, one row each, float64 columns as in `push`."""
        return pd.DataFrame(self._columns()[: len(COLUMNS)].T.copy(), columns=list(COLUMNS))

    def to_html(self, *, live: bool = True) -> str:
        """The run as it stands, as HTML that needs no kernel (see `html.result_html`)."""
        from .html import result_html

        return result_html(SaeTrainCard.model_validate(self._card), {"history": self.history}, live=live)

    def fallback_html(self) -> str:
        return self.to_html(live=False)

    def close(self) -> None:
        """Close the widget and end its thread."""
        if hasattr(self, "_pace"):
            self._pace.close()
            self._desk.close()
        super().close()

    def _append(self, columns: NDArray[np.float64]) -> None:
        columns = columns[:, _not_logged_again(columns[0])]
        kept = int(np.searchsorted(self._points[0, : self._rows], columns[0, 0]))
        added = columns.shape[1]
        if kept < self._rows or kept + added > self._points.shape[1]:
            # Never in place: a message that is being packed still reads the old rows.
            grown = np.empty((len(WIRE), max(kept + added, 2 * self._points.shape[1])))
            grown[:, :kept] = self._points[:, :kept]
            self._points = grown
        before = self._points[:, kept - 1] if kept else np.zeros(len(WIRE))
        seconds = elapsed(columns[_TOKENS], columns[_RATE], before[_TOKENS], before[_RATE])
        self._points[: len(COLUMNS), kept : kept + added] = columns
        self._points[_SECONDS, kept : kept + added] = before[_SECONDS] + seconds
        self._rows = kept + added
        self._sent_rows = min(self._sent_rows, kept)

    def _columns(self) -> NDArray[np.float64]:
        """[12, rows]; rows already there never change, so the view stays right while others append."""
        with self._lock:
            return self._points[:, : self._rows]

    def _state(self) -> dict[str, Any]:
        return {
            "total": self._rows,
            "cancellable": self._on_cancel is not None,
            "cancelling": self._cancelling,
        }

    def _flush(self) -> None:
        """Send a snapshot if somebody asked for one, else what is new since the last message.

        A kernel busy with a cell (`job.wait()` under the one that started the job) hears no hello until the cell ends.
        So until the first hello there is a snapshot every second, unasked; a view takes up from whichever it gets.
        """
        with self._sending:
            now = time.monotonic()
            with self._lock:
                if not (self._shown or self._greeted):
                    return
                unheard = not self._greeted
                over = self._card["status"] in _OVER
                whole = self._wants_snapshot or (unheard and (over or now - self._last_whole >= UNHEARD_SECONDS))
                self._wants_snapshot = False
                card, state = self._card, self._state()
                kept = self._kept
                columns = self._points[:, 0 if whole else self._sent_rows : self._rows]
                self._sent_rows = self._rows
            self._seq += 1
            message: dict[str, Any] = {"type": "snapshot" if whole else "append", "seq": self._seq, **state}
            if whole:
                self._last_whole = now
                message |= {"columns": list(WIRE), "card": card}
            else:
                message["card"] = {name: value for name, value in card.items() if self._sent_card.get(name) != value}
            limit = UNHEARD_POINTS if whole and unheard else MAX_POINTS
            columns = thinned(columns, limit)
            self._sent_card = card
            message["rows"] = columns.shape[1]
            self.send(message, buffers=[_packed(columns)])
            if kept is not None:
                self.send({"type": "keep", "model_id": self.model_id, "data": kept})

    def _beat(self) -> None:
        if not self._greeted:
            self._flush()
            return
        with self._sending:
            self.send({"type": "beat", "seq": self._seq})

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
        self._shown = True
        self._pace.mark()
        return super()._repr_mimebundle_(**kwargs)

    def _keep_summary(self) -> None:
        """Put the end into synced traits: what a saved widget state can still draw."""
        with self.hold_sync():
            self.summary = self._card
            self.curve = _packed(thinned(self._columns(), CURVE_POINTS))

    def _receive(self, _widget: object, content: Any, _buffers: object) -> None:
        """Messages from a view; they come on the main thread or on a subshell's."""
        kind = content.get("type") if isinstance(content, dict) else None
        self._desk.receive(content)
        try:
            if kind == "hello":
                with self._lock:
                    self._greeted = self._wants_snapshot = True
            elif kind == "cancel" and self._on_cancel is not None:
                with self._lock:
                    self._cancelling = True
                self._on_cancel()
            else:
                return
            self._pace.mark()
        except Exception as error:
            with self._lock:
                self._cancelling = False
            self.fail(error, "cancelling" if kind == "cancel" else "answering the notebook")


def _not_logged_again(steps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the points stay when every later point replaces those from its step on."""
    later = np.minimum.accumulate(steps[::-1])[::-1]
    return np.append(steps[:-1] < later[1:], True)


def _packed(columns: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(columns, dtype="<f8").tobytes()

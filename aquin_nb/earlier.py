"""Trainings beside one another: which earlier ones there are of the same place, and a stopped one gone on with."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import home
from .cards import SaeTrainCard
from .errors import SessionError, StoreError
from .jobs import FINISHED
from .records import history_frame, read_card, read_history
from .widgets.curves import wire
from .widgets.views.train import other, points_answer, training_curve

if TYPE_CHECKING:
    from .live import LiveTraining
    from .results import SaeTrain
    from .widgets.desk import Handler

MOST: Final = 200
"""Cards that one look reads, newest first."""


class Earlier:
    """Trainings of the same model and place as a card's, found under `$AQUIN_HOME` and beside its own file.

    Args:
        card: of the training that others are compared with.
        beside: a folder where more may be.
    """

    def __init__(self, card: SaeTrainCard, beside: Path | None = None) -> None:
        self._card, self._beside = card, beside
        self._lock = threading.Lock()
        self._files: dict[str, Path] = {}

    def answers(self) -> dict[str, Handler]:
        """What a view asks to compare: "earlier" for the list, "training" for the curve of one of it."""
        return {"earlier": lambda _params: {"trainings": self.found()}, "training": self._training}

    def found(self) -> list[dict[str, Any]]:
        """`id, name, status, verdict, fvu, d_sae, ended` of each, newest first."""
        files: dict[str, Path] = {}
        rows: list[dict[str, Any]] = []
        for file in self._newest():
            card = _read(file)
            if card is None or card.id == self._card.id or card.id in files or not self._same_place(card):
                continue
            files[card.id] = file
            measured = card.held_out or card.latest
            rows.append(
                {
                    "id": card.id, "name": card.name, "status": card.status, "verdict": card.verdict,
                    "fvu": measured.fvu, "d_sae": card.config.d_sae if card.config is not None else 0,
                    "ended": card.finished_at.isoformat() if card.finished_at is not None else None,
                }
            )  # fmt: skip
        with self._lock:
            self._files = files
        return rows

    def _training(self, params: dict[str, Any]) -> dict[str, Any]:
        wanted = str(params.get("id", ""))
        with self._lock:
            file = self._files.get(wanted)
        if file is None:
            raise StoreError("That training is not on the list any more; open the list again.")
        return other(read_card(file, SaeTrainCard), read_history(_beside(file, ".history.csv")))

    def _newest(self) -> list[Path]:
        folders = [home.home() / "sae" / "user"]
        if self._card.model is not None:
            folders = [folders[0] / home.slugify(self._card.model.name)]
        files = {file for folder in folders for file in folder.glob("*/*.card.json")}
        if self._beside is not None:
            files |= set(self._beside.glob("*.card.json"))
        return sorted(files, key=_changed, reverse=True)[:MOST]

    def _same_place(self, card: SaeTrainCard) -> bool:
        mine = self._card
        models = [one.name if one is not None else None for one in (mine.model, card.model)]
        return models[0] == models[1] and (card.layer, card.hook) == (mine.layer, mine.hook)


class Resumable:
    """A stopped training that its view may go on with.

    Args:
        result: the training as it stopped.
        again: starts it again, and returns its face.
    """

    def __init__(self, result: SaeTrain, again: Callable[[], LiveTraining]) -> None:
        self._result, self._again = result, again
        self._lock = threading.Lock()
        self._live: LiveTraining | None = None

    def answers(self) -> dict[str, Handler]:
        """What a view asks: "resume", then "follow" until it is over, and "cancel"."""
        return {"resume": self._resume, "follow": self._follow, "cancel": self._cancel}

    def _resume(self, _params: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if self._live is None or self._live.job.status in FINISHED:
                self._live = self._again()
            return {"status": self._live.job.status}

    def _follow(self, _params: dict[str, Any]) -> dict[str, Any]:
        live = self._going()
        card, points = live.state()
        return {"card": card.model_dump(mode="json"), **training_curve(wire(history_frame(points)))}

    def _cancel(self, _params: dict[str, Any]) -> dict[str, Any]:
        self._going().job.cancel()
        return {}

    def _going(self) -> LiveTraining:
        with self._lock:
            if self._live is None:
                raise SessionError(f"{self._result.card.name} has not been resumed here.")
            return self._live


def training_answers(result: SaeTrain) -> dict[str, Handler]:
    """All that the view of a training that is over may ask."""
    points = wire(result.history)
    found = {"points": points_answer(lambda: points), **Earlier(result.card, result.path.parent).answers()}
    if result.resumable:
        found |= Resumable(result, result.go_on).answers()
    return found


def _read(file: Path) -> SaeTrainCard | None:
    """The card of a training; None for other cards, and for what cannot be read."""
    try:
        if json.loads(file.read_bytes()).get("kind") != "saeTrain" or not _beside(file, ".history.csv").is_file():
            return None
        return read_card(file, SaeTrainCard)
    except (OSError, ValueError, StoreError, AttributeError):
        return None


def _beside(card: Path, suffix: str) -> Path:
    return card.with_name(card.name.removesuffix(".card.json") + suffix)


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0

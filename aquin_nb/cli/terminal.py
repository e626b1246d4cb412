"""Sessions in a terminal: each command opens the remembered one again, and tells the board it was connected to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SessionError
from .invocation import running
from .locks import at_work
from .state import recall
from .usage import NotLoaded, UsageError

if TYPE_CHECKING:
    from ..session import Session
    from .remembered import Remembered

FIRST = "aquin-nb load --model SLUG"


class Terminal:
    """The front of `aquin-nb` itself (see `Front`)."""

    def session(
        self, model: str | None, device: str | None, dtype: str | None, backend: str | None, *, bind: bool
    ) -> Session:
        state = recall()
        asked = chosen_model(state, model)
        from ..session import Session

        self.alone()
        loaded = state.model if state is not None else None
        session = Session(
            asked,
            name=state.name if state is not None else None,
            device=device or (loaded.device if loaded else "auto"),
            dtype=dtype or (loaded.dtype if loaded else "auto"),
            backend=backend or (loaded.backend if loaded else "transformer-lens"),
        )
        self.opened(session)
        if bind and state is not None and state.dictionary is not None:
            session.load_sae(path=state.dictionary.path, layer=state.dictionary.layer)
        return session

    def opened(self, session: Session) -> None:
        running().at_end.callback(session.close)

    def alone(self) -> None:
        state = recall()
        if state is None:
            return
        running().at_end.enter_context(at_work())
        if state.orchestrator is not None:
            self.tell(state.orchestrator, state)

    def tell(self, orchestrator: str, state: Remembered) -> None:
        from ..telling import connect_process, process_telling
        from ..verbs.connect import connect

        before = process_telling()
        if before is not None:  # a script that calls `main` has connected itself
            return
        try:
            connect(orchestrator, name=state.name, device=state.device)
        except SessionError as error:
            raise SessionError(f"{error} `aquin-nb connect --orchestrator none` works on without a board.") from None
        telling = process_telling()
        assert telling is not None

        def end() -> None:
            connect_process(None)
            telling.outbox.close()

        running().at_end.callback(end)


def chosen_model(state: Remembered | None, model: str | None) -> str:
    """The model that a verb is to use: the one that is named, or the session's.

    Raises:
        NotLoaded: none is loaded and none is named. UsageError: another than the session's.
    """
    loaded = state.model if state is not None else None
    if loaded is None:
        if model is None:
            raise NotLoaded(
                f"No model is loaded. First `{FIRST}` (tiny is in this package; `aquin-nb models` lists others), or"
                " give the command its --model."
            )
        return model
    if model is None or same_model(loaded.asked, loaded.name, model):
        return loaded.asked
    assert state is not None
    raise UsageError(
        f"The session {state.name} is locked to {loaded.name}. For {model} begin another one:"
        f" `aquin-nb session start --model {model}`. A fine-tuned checkpoint of {loaded.name} is given by --checkpoint."
    )


def same_model(asked: str, name: str, model: str) -> bool:
    """Whether `model` names the one that was asked for, by its name or its folder."""
    return model in (asked, name) or placed(model) == asked


def placed(model: str) -> str:
    """A model's folder or file in full, so that it is found from anywhere; a slug as it is."""
    path = Path(model).expanduser()
    return str(path.absolute()) if path.exists() else model

"""`%aquin` in a notebook: the commands of the terminal, parsed the same way, handing back the result itself.

%load_ext aquin_nb
%aquin load --model tiny
trained = %aquin sae train --layer 3 --quick --name first
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from .cli.app import invoke, known_words
from .cli.output import completed
from .cli.remembered import Remembered
from .cli.state import recall
from .cli.terminal import chosen_model, same_model
from .cli.usage import UsageError
from .session import Session
from .verbs.connect import connect


class Notebook:
    """Where `%aquin` finds its session: the one called `session`, the only one there is, or the one it opened."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._namespace = namespace
        self._own: Session | None = None
        self._bound = ""

    def session(
        self, model: str | None, device: str | None, dtype: str | None, backend: str | None, *, bind: bool
    ) -> Session:
        given = self._given()
        if given is not None:
            name = given.model.info.name
            if model is not None and not same_model(given._asked, name, model):
                raise UsageError(f'The session is locked to {name}. Open another one for {model}: Session("{model}").')
            if device or dtype or backend:
                raise UsageError("--device, --dtype and --backend are chosen when a session is opened, not later.")
            return given
        state = recall()
        asked = chosen_model(state, model)
        own = self._own
        if own is None or not same_model(own._asked, own.model.info.name, asked) or device or dtype or backend:
            own = self._own = Session(
                asked, device=device or "auto", dtype=dtype or "auto", backend=backend or "transformer-lens"
            )
            self._bound = ""
        remembered = state.dictionary if state is not None else None
        if bind and remembered is not None and self._bound != remembered.path:
            own.load_sae(path=remembered.path, layer=remembered.layer)
            self._bound = remembered.path
        return own

    def opened(self, session: Session) -> None:
        given = self._given()
        if given is None:
            self._own, self._bound = session, ""
        elif given.model.info.name != session.model.info.name:
            raise UsageError(f"A session of {given.model.info.name} is open here, and %aquin works in it.")

    def alone(self) -> None:
        """A notebook's process is connected once, by `%aquin connect` or `aquin_nb.connect()`."""

    def tell(self, orchestrator: str, state: Remembered) -> None:
        connect(orchestrator, name=state.name, device=state.device)

    def _given(self) -> Session | None:
        named = self._namespace.get("session")
        if isinstance(named, Session):
            return named
        found = {id(one): one for key, one in self._namespace.items() if isinstance(one, Session) and key[0] != "_"}
        if len(found) > 1:
            raise UsageError("There are several sessions here; call the one that %aquin is to use `session`.")
        return next(iter(found.values()), None)


def register(shell: Any) -> None:
    """Give a shell its `%aquin`."""
    front = Notebook(shell.user_ns)

    def aquin(line: str) -> Any:
        """Run a command of `aquin-nb` here; `%aquin --help` lists them."""
        words = _words(line)
        try:
            done = invoke(words, front)
        except UsageError as error:
            raise UsageError(str(error).replace("aquin-nb ", "%aquin ")) from None
        if "--output-json" in words:
            return completed(" ".join(known_words(words)), done)
        if done.result is None and done.text:
            print(done.text)  # noqa: T201  what the command says is all there is
        return done.result

    shell.register_magic_function(aquin, "line", "aquin")


def _words(line: str) -> list[str]:
    """A line as a shell splits it; a backslash stays one on Windows.

    Raises:
        UsageError: a quotation mark is not closed.
    """
    try:
        return shlex.split(line, posix=os.name != "nt")
    except ValueError as error:
        raise UsageError(f"The line cannot be read: {error}.") from None

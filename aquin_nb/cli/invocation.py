"""One run of a command: what it hands back, where its sessions come from, and what must be let go at its end."""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from ..cards import Card
    from ..session import Session
    from .remembered import Remembered

DONE, FAILED, USAGE, NOT_USABLE, CANCELLED, TERMINATED = 0, 1, 2, 3, 130, 143
"""Exit codes; `docs/cli.md` promises them. The last is what a shell reports of any process that SIGTERM ended."""


@dataclass
class Done:
    """What a command did.

    Attributes:
        text: what a person reads.
        result: what a magic hands back; its card and path are those of the JSON object unless given here.
        data: what else the JSON object says; its keys are the verb's own.
        shown: the command has written to standard output itself.
    """

    text: str = ""
    result: Any = None
    card: Card | None = None
    path: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = DONE
    shown: bool = False


def result_done(result: Any, text: str | None = None, **data: Any) -> Done:
    """A verb's result, with its card and its place."""
    said = repr(result) if text is None else text
    if str(result.path) not in said:
        said += f"\n  In {result.path}; `aquin-nb open` shows it."
    return Done(
        text=said,
        result=result,
        card=getattr(result, "card", None),
        path=str(result.path),
        data=data,
    )


class Front(Protocol):
    """Where a command finds sessions: a terminal between processes, or a notebook in this one."""

    def session(
        self, model: str | None, device: str | None, dtype: str | None, backend: str | None, *, bind: bool
    ) -> Session:
        """The session a verb works in, with the bound dictionary where `bind` and one is remembered.

        Raises:
            UsageError: no model is named or loaded, or another than the loaded one.
        """
        ...

    def opened(self, session: Session) -> None:
        """A session was opened by `load`."""
        ...

    def alone(self) -> None:
        """A verb without a session begins: connect the process to the board that the session is told to."""
        ...

    def tell(self, orchestrator: str, state: Remembered) -> None:
        """Tell a board of what this process runs: a terminal until the command ends, a notebook as long as it lives.

        Raises:
            SessionError: it cannot be started.
        """
        ...


@dataclass
class Invocation:
    """The command that is running.

    Attributes:
        json: only one JSON object goes to standard output.
        out: the real standard output, also while `json` sends everything else to standard error.
        at_end: let go when the command ends, however it does.
    """

    front: Front
    json: bool
    out: TextIO
    at_end: ExitStack


_running: ContextVar[Invocation] = ContextVar("aquin_nb_invocation")


def running() -> Invocation:
    """The command that this context runs."""
    return _running.get()


def begin(invocation: Invocation) -> None:
    """Make it the running one until its `at_end` is closed."""
    token = _running.set(invocation)
    invocation.at_end.callback(_running.reset, token)

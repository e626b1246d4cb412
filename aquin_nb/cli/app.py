"""The commands put together, and what every one of them ends with: its output, its errors, its exit status."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from typing import Annotated, Any

import typer

from ..errors import AquinError, Cancelled
from .invocation import CANCELLED, DONE, FAILED, TERMINATED, USAGE, Done, Front, Invocation, begin
from .output import as_line, complain, completed, failed, hanging, hush, write
from .terminal import Terminal
from .termination import Termination, termination
from .usage import Misused, UsageError, in_terminal_words, sentence
from .verb import BEGIN, BOARD, MARKUP, SETTINGS, WORK

PROGRAM = "aquin-nb"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command in the terminal and return its exit status.

    0 done, 1 failed, 2 usage, 3 not usable (`--strict`), 130 cancelled, 143 by SIGTERM; see `docs/cli.md`.

    >>> main(["models", "--output-json"])                              # doctest: +SKIP
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "_AQUIN_NB_COMPLETE" in os.environ:
        commands()(prog_name=PROGRAM)
    with termination() as asked:
        return _ended(words, asked)


def _ended(words: list[str], asked: Termination) -> int:
    """Run a command, write what it says, and return its exit status."""
    out, json = sys.stdout, "--output-json" in words
    verb = ""
    try:
        verb = " ".join(known_words(words))
        done = _hushed(words, json)
        if not done.shown:
            write(as_line(completed(verb, done)) if json else hanging(done.text), out)
        return done.exit_code
    except BrokenPipeError:
        hush(out)
        return DONE
    except BaseException as error:
        code = _code(error)
        if code == CANCELLED and asked.asked:
            code = TERMINATED
        if code is None:
            if not json:
                raise
            traceback.print_exc()
            code = FAILED
        return _refused(error, code, verb, out if json else None)


def invoke(words: Sequence[str], front: Front, *, json: bool = False) -> Done:
    """Parse and run one command; what it raises is raised.

    Raises:
        AquinError: as the verb. UsageError: the command line cannot be followed.
    """
    with ExitStack() as at_end:
        begin(Invocation(front, json, sys.stdout, at_end))
        if json:
            at_end.enter_context(redirect_stdout(sys.stderr))
        command = commands()
        try:
            with command.make_context(PROGRAM, list(words)) as context:
                found = command.invoke(context)
        except typer.Exit as end:  # --help and the like have said what they had to
            return Done(exit_code=end.exit_code, shown=True)
        except Misused as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                return Done(exit_code=USAGE, shown=True)
            raise UsageError(sentence(error)) from None
        assert isinstance(found, Done)
        return found


@cache
def commands() -> Any:
    """The tree of commands; its modules import nothing heavy."""
    from . import activations, board, capture, compare, diagnosis, models, opening, pulling, sessions, train

    root = typer.Typer(
        name=PROGRAM,
        help="Sparse autoencoders on the weights in front of you: capture, train, diff, align.",
        epilog="Example: aquin-nb load --model tiny, then aquin-nb sae train --quick --name first",
        no_args_is_help=True,
        context_settings=SETTINGS,
        rich_markup_mode=MARKUP,
    )
    root.callback()(_root)
    sessions.add_connect(root)
    root.add_typer(sessions.session_app, name="session", rich_help_panel=BEGIN)
    root.add_typer(sessions.load_app, name="load", rich_help_panel=BEGIN)
    root.add_typer(pulling.app, name="pull", rich_help_panel=BEGIN)
    models.add(root)
    capture.add(root)
    root.add_typer(activations.app, name="activations", rich_help_panel=WORK)
    root.add_typer(train.app, name="sae", rich_help_panel=WORK)
    compare.add(train.app)
    opening.add(root)
    root.add_typer(board.app, name="orchestrator", rich_help_panel=BOARD)
    board.add_sync(root)
    diagnosis.add(root)
    return typer.main.get_command(root)


def _root(
    version: Annotated[bool, typer.Option("--version", is_eager=True, help="say the version and end")] = False,
) -> None:
    if version:
        from .. import __version__

        write(f"{PROGRAM} {__version__}")
        raise typer.Exit()


def known_words(words: Sequence[str]) -> list[str]:
    """The words of a command line that name its command, such as `sae train`."""
    at, found = commands(), []
    for word in words:
        inside = getattr(at, "commands", {})
        if word not in inside:
            if word.startswith("-"):
                continue
            break
        at = inside[word]
        found.append(word)
    return found


def _options(verb: str) -> set[str]:
    """The options of a command."""
    at = commands()
    for word in verb.split():
        at = at.commands[word]
    return {option for one in at.params for option in one.opts}


def _hushed(words: Sequence[str], json: bool) -> Done:
    from ..progress import in_terminal

    with _warnings_told(), in_terminal():
        return invoke(words, Terminal(), json=json)


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Warnings meant for people as lines without the place in our code."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **how: Any) -> None:
        if issubclass(category, UserWarning):
            complain(f"note: {message}")
        else:
            usual(message, category, *where, **how)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _code(error: BaseException) -> int | None:
    """The exit status of an error that a person can act on; None for a defect of ours."""
    if isinstance(error, Cancelled | KeyboardInterrupt | typer.Abort):
        return CANCELLED
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, AquinError):
        return FAILED
    if isinstance(error, ModuleNotFoundError):
        return None if error.name is None or error.name.startswith("aquin_nb") else FAILED
    if isinstance(error, OSError):
        return FAILED if error.filename is not None else None
    return None


def _refused(error: BaseException, code: int, verb: str, out: Any) -> int:
    said = error
    if isinstance(error, ModuleNotFoundError):
        extra = "sync" if error.name == "apsw" else "engine"
        said = AquinError(f"this command needs {error.name}: pip install 'aquin-nb[{extra}]'.")
    elif isinstance(error, OSError):
        said = AquinError(f"{error.filename}: {error.strerror}.")
    elif not isinstance(error, AquinError) and code in (CANCELLED, TERMINATED):
        said = Cancelled("interrupted.")
    if isinstance(said, AquinError):
        said.args = (in_terminal_words(str(said), _options(verb)), *said.args[1:])
    try:
        if out is not None:
            write(as_line(failed(verb, said, code, cancelled=code in (CANCELLED, TERMINATED))), out)
        else:
            complain(str(said))
    except BrokenPipeError:
        hush(out or sys.stderr)
    return code

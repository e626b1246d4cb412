"""How a function becomes a command: its example, and `--output-json` on every one of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer

from .options import OUTPUT
from .output import width

NARROW = width() < 60
MARKUP: Final = None if NARROW else "rich"
"""How help is drawn: in a narrow terminal the boxes would cut the names of options."""
BEGIN, WORK, LOOK, BOARD = "Begin", "Capture, train, compare", "Look", "The board"
"""Under which the help lists commands."""

F = TypeVar("F", bound=Callable[..., Any])

Json = Annotated[
    bool,
    typer.Option("--output-json", help="one JSON object on standard output and nothing else", rich_help_panel=OUTPUT),
]


def group(text: str) -> typer.Typer:
    """A noun or verb with words of its own below it."""
    return typer.Typer(help=text, no_args_is_help=True, context_settings=SETTINGS, rich_markup_mode=MARKUP)


SETTINGS = {"help_option_names": ["-h", "--help"], **({"terminal_width": width()} if NARROW else {})}


def verb(app: typer.Typer, name: str, example: str, panel: str | None = None) -> Callable[[F], F]:
    """Make a function the command `name` of `app`, in the help under `panel`; it hands back a `Done`."""

    def add(function: F) -> F:
        app.command(name, epilog=f"Example: {example}", rich_help_panel=panel)(with_json(function))
        return function

    return add


def with_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same with the option `--output-json`, which is read before the function is called (see `app.main`)."""

    @functools.wraps(function)
    def command(*args: Any, output_json: bool = False, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    signature = inspect.signature(function, eval_str=True)
    asked = inspect.Parameter("output_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    parameters = [*signature.parameters.values(), asked]
    told: Any = command
    told.__signature__ = signature.replace(parameters=parameters)
    told.__annotations__ = {one.name: one.annotation for one in parameters}
    del told.__wrapped__
    return command

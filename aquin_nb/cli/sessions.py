"""`connect`, `session` and `load`: what later commands work in, where they are told, and what they read."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import home
from ..errors import AquinError
from .invocation import Done, running
from .locks import alone
from .options import BackendOption, DeviceOption, DtypeOption, NewModelOption
from .state import forget, recall, remember, state_file
from .terminal import FIRST, placed, same_model
from .usage import NotLoaded, UsageError
from .verb import BEGIN, MARKUP, SETTINGS, group, verb, with_json

if TYPE_CHECKING:
    from ..session import Session
    from .remembered import LoadedModel, Remembered

session_app = group("The session that commands work in: begin, show and end it.")
load_app = typer.Typer(
    help="Load a model for the session, or bind a dictionary to it.",
    invoke_without_command=True,
    context_settings=SETTINGS,
    rich_markup_mode=MARKUP,
    epilog="Example: aquin-nb load --model tiny",
)
CONTACT_SECONDS = 5.0


def add_connect(app: typer.Typer) -> None:
    """Add `connect` to the commands."""
    verb(app, "connect", 'aquin-nb connect --device "lab laptop" --name monday', BEGIN)(connect)


def connect(
    device: Annotated[str | None, typer.Option("--device", help="what the board calls this machine")] = None,
    name: Annotated[str | None, typer.Option("--name", help="what the board calls this session")] = None,
    orchestrator: Annotated[
        str,
        typer.Option(
            "--orchestrator",
            help="auto (the board of this machine, started if need be), a URL (token in AQUIN_NB_TOKEN), outbox (kept"
            " for aquin-nb sync), or none",
        ),
    ] = "auto",
) -> Done:
    """Find or start the board, and tell it of every later command of the session."""
    with alone("connect"):
        state = recall() or _new(None, name)
        state.name, state.device = name or state.name, device or state.device
        state.orchestrator = None if orchestrator == "none" else orchestrator
        said = "Nobody is told of what commands run." if state.orchestrator is None else _reached(orchestrator, state)
        remember(state)
    if state.model is None:
        said += f" Next: `{FIRST}`."
    return Done(f"Session {state.name}: {said}", state, data=_told(state))


def _reached(orchestrator: str, state: Remembered) -> str:
    """Connect as a command would, and say what came of it."""
    from ..telling import process_telling

    running().front.tell(orchestrator, state)
    telling = process_telling()
    assert telling is not None
    deadline = time.monotonic() + CONTACT_SECONDS
    while telling.outbox.status().state == "connecting" and time.monotonic() < deadline:
        time.sleep(0.05)
    status = telling.outbox.status()
    if orchestrator == "outbox":
        return "what commands run is kept for `aquin-nb sync`."
    if status.state == "connected":
        return f"connected to {status.url}."
    return (
        f"{status.url} was not reached: {status.problem or 'it does not answer'}. Commands work on and tell it later."
    )


@verb(session_app, "start", "aquin-nb session start --id monday --model tiny")
def start(
    id: Annotated[str | None, typer.Option("--id", help="of the session; default: a new one")] = None,
    model: NewModelOption = None,
    name: Annotated[str | None, typer.Option("--name", help="what the board calls it; default: its id")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
) -> Done:
    """Begin a session, with its model when one is named; the one before it ends, and its files stay."""
    with alone("session start"):
        try:
            before = recall()
        except AquinError:
            before = None  # whatever it was, it ends now
        state = _new(id, name)
        if before is not None:
            state.orchestrator, state.device = before.orchestrator, before.device
        if model is not None:
            state.model = _loaded(model, device, dtype, backend)[0]
        remember(state)
    ended = f"Session {before.name} has ended. " if before is not None else ""
    then = f"{state.model.name} is loaded" if state.model else f"next: `{FIRST}`"
    return Done(f"{ended}Session {state.name} has begun; {then}.", state, data=_told(state))


@verb(session_app, "show", "aquin-nb session show")
def show() -> Done:
    """Show the active session: its board, model and dictionary."""
    state = recall()
    if state is None:
        return Done(f"There is no session yet. `{FIRST}` begins one.", data={"session": None})
    return Done(described(state), state, data=_told(state))


def described(state: Remembered) -> str:
    """A session's board, model and dictionary, one a line."""
    model = state.model
    shape = f"{model.name}: {model.n_layers} layers, d_model {model.d_model}" if model else f"none: {FIRST}"
    lines = [
        f"Session {state.name} (id {state.id}, since {state.started_at:%Y-%m-%d %H:%M} UTC)",
        f"  board       {state.orchestrator or 'none'}{f', as {state.device}' if state.device else ''}",
        f"  model       {shape}",
        f"  dictionary  {state.dictionary.path if state.dictionary else 'none: aquin-nb load sae --user NAME'}",
    ]
    return "\n".join(lines)


@verb(session_app, "end", "aquin-nb session end")
def end() -> Done:
    """End the session: its model and dictionary are forgotten, and every file stays."""
    with alone("session end"):
        there = forget()
    return Done("The session has ended." if there else "There was no session.", data={"ended": there})


def load(
    ctx: typer.Context,
    model: NewModelOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    backend: BackendOption = None,
) -> Done | None:
    """Load a model for the session, or bind a dictionary to it: `load sae`.

    The session is locked to its model; each command that computes loads it again.
    """
    if ctx.invoked_subcommand is not None:
        if model is not None:
            raise UsageError("`load sae` takes no --model: `aquin-nb load --model SLUG`, then `aquin-nb load sae …`.")
        return None
    if model is None:
        raise UsageError("Missing option '--model'. Example: aquin-nb load --model tiny")
    with alone("load"):
        state = recall() or _new(None, None)
        if state.model is not None and not same_model(state.model.asked, state.model.name, model):
            raise UsageError(
                f"The session {state.name} is locked to {state.model.name}. For {model} begin another one:"
                f" `aquin-nb session start --model {model}`."
            )
        state.model, session = _loaded(model, device, dtype, backend)
        remember(state)
    m = state.model
    said = f"{m.name} is loaded in session {state.name}: {m.mode}, {m.n_layers} layers, d_model {m.d_model}."
    return Done(said, session, card=session.card, data=_told(state))


load_app.callback()(with_json(load))


@verb(load_app, "sae", "aquin-nb load sae --user first")
def load_sae(
    user: Annotated[str | None, typer.Option("--user", help="the name that you gave sae train")] = None,
    path: Annotated[str | None, typer.Option("--path", help="a dictionary file")] = None,
    public: Annotated[int | None, typer.Option("--public", help="the layer of one that was pulled")] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="where it is bound; default: its own layer")] = None,
) -> Done:
    """Bind a dictionary, which sae diff and capture-activations --encode-sae then use."""
    if sum(one is not None for one in (user, path, public)) != 1:
        raise UsageError("load sae wants one of --user NAME, --path FILE or --public LAYER.")
    try:
        session = running().front.session(None, None, None, None, bind=False)
    except NotLoaded:
        raise UsageError(f"No model is loaded. First `{FIRST}`, then `aquin-nb load sae …`.") from None
    dictionary = session.load_sae(user, path=path, public=public, layer=layer)
    assert dictionary.path is not None
    full, model = str(dictionary.path.absolute()), session.model.info.name
    state = recall()
    if state is not None and state.model is not None and state.model.name == model:
        from .remembered import BoundDictionary

        state.dictionary = BoundDictionary(path=full, name=dictionary.cfg.name or Path(full).stem, layer=layer)
        remember(state)
    said = f"{dictionary!r} is bound to layer {session.layer} of {model}."
    return Done(said, dictionary, card=session.card, path=full, data=_told(state) if state is not None else {})


def _loaded(model: str, device: str | None, dtype: str | None, backend: str | None) -> tuple[LoadedModel, Session]:
    from ..session import Session
    from .remembered import LoadedModel

    device, dtype, backend = device or "auto", dtype or "auto", backend or "transformer-lens"
    session = Session(model, device=device, dtype=dtype, backend=backend)
    running().front.opened(session)
    info = session.model.info
    loaded = LoadedModel(
        asked=placed(model), name=info.name, mode=info.mode, n_layers=info.n_layers, d_model=info.d_model,
        device=device, dtype=dtype, backend=backend,
    )  # fmt: skip
    return loaded, session


def _new(id: str | None, name: str | None) -> Remembered:
    from .remembered import Remembered

    known = id or uuid.uuid4().hex[:12]
    return Remembered(id=known, name=name or id or home.run_name("session"))


def _told(state: Remembered) -> dict[str, Any]:
    return {"session": state.model_dump(mode="json"), "file": str(state_file())}

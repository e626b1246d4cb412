"""Session: one locked model, one bound dictionary, and the verbs."""

from __future__ import annotations

import platform
import threading
import warnings
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import home
from .cards import SessionCard
from .collection import Activations
from .connecting import open_outbox
from .engine.activations.capture import capture
from .engine.activations.contexts import EXCLUDE
from .engine.activations.probes import builtin_probes, read_probes
from .engine.analysis.inspect import inspect
from .engine.models import Model, load_model
from .engine.sae import SparseAutoencoder, load_dictionary
from .errors import DictionaryError, ModelError, SessionError, did_you_mean
from .files import refuse_taken
from .inspection import Inspection
from .jobs import Job, JobQueue
from .progress import visible
from .records import capture_card, dictionary_ref, model_ref, write_card
from .results import Capture, SaeTrain
from .session_bar import SessionBar
from .sync.status import SyncStatus
from .telling import Telling, connect_session, process_telling, told
from .verbs.align import sae_align
from .verbs.collect import collect_activations
from .verbs.sae import SaeVerbs

if TYPE_CHECKING:
    from .sync import Outbox

__all__ = ["Session", "sae_align"]


class Session:
    """One model, locked for the life of the session, and at most one bound dictionary.

    Args:
        model: catalogue slug (`tiny`, `smollm2-135m`, `minilm`, `gpt2`, ...), hub id, local folder or GGUF file.
        name: names the session's runs; the default is the model's name and the time.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: "auto" (bfloat16 where a short measurement shows it is faster), "float32", "bfloat16" or "float16".
        backend: "transformer-lens" or "huggingface"; embedding models always use Hugging Face.
        orchestrator: who is told of every run: None (nobody, and nothing is written for it), "auto" (one on this
            machine, started if need be), a URL (its token in AQUIN_NB_TOKEN), or "outbox" (kept for `aquin-nb sync`).
            While it cannot be reached the session works on, and tells it later. With None, `aquin_nb.connect` decides.

    Raises:
        ModelError: the model cannot be found or loaded.

    >>> session = Session("tiny")                                       # doctest: +SKIP
    >>> capture = session.capture_activations(count=6)                  # doctest: +SKIP
    >>> job = session.sae.train(3, quick=True)                          # doctest: +SKIP
    >>> session.load_sae(path=job.wait().path)                          # doctest: +SKIP
    >>> session.inspect("The cat sat on the mat.")                      # doctest: +SKIP
    """

    def __init__(
        self,
        model: str = "tiny",
        *,
        name: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        backend: str = "transformer-lens",
        orchestrator: str | Outbox | None = None,
    ) -> None:
        self._asked = str(model)
        self._options: dict[str, Any] = {"device": device, "dtype": dtype, "backend": backend}
        with visible(f"Loading {model}") as control:
            self.model: Model = load_model(model, control=control, **self._options)
        self.name = name or home.run_name(home.slugify(self.model.info.name))
        self.dictionary: SparseAutoencoder | None = None
        self.layer: int | None = None
        self.jobs = JobQueue(self.name)
        self.telling: Telling | None = None
        if orchestrator is not None:
            self.connect(orchestrator)
        self.sae = SaeVerbs(self)
        self._card = SessionCard(name=self.name, model=model_ref(self.model.info), versions=_versions())
        self._card.start()
        self._tuned: tuple[Any, Model] | None = None
        self._tuning = threading.Lock()

    def __repr__(self) -> str:
        i = self.model.info
        bound = f", bound to {self.dictionary!r}" if self.dictionary is not None else ""
        return (
            f"Session({i.name}: {i.mode}, {i.n_layers} layers, d_model {i.d_model}, {i.dtype} on {i.device}"
            f" through {i.backend}{bound})"
        )

    @property
    def card(self) -> SessionCard:
        """What the session is: model, dictionary and the versions behind it."""
        self._card.dictionary = dictionary_ref(self.dictionary) if self.dictionary is not None else None
        return self._card

    @cached_property
    def _bar(self) -> SessionBar:
        return SessionBar(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self._bar._repr_mimebundle_()

    def connect(
        self, orchestrator: str | Outbox = "auto", *, name: str | None = None, device: str | None = None
    ) -> SyncStatus:
        """Tell an orchestrator of every run from now on; see `Session`.

        Args:
            name: what the board calls this session; default: its name. Files on disk keep the session's own.
            device: what the board calls this machine, such as "lab-a100"; default: the host's name. Not `Session`'s
                `device`, which says where the model computes.

        Raises:
            SessionError: it cannot be started. NetworkError: not an address.

        >>> session.connect(name="ablation of layer 3", device="the laptop")      # doctest: +SKIP
        """
        outbox = open_outbox(orchestrator)
        if self.telling is not None and self.telling.outbox is not outbox:
            self.telling.outbox.close()
        self.telling = Telling(outbox, name or self.name, device)
        self.telling.attend(self.jobs)
        connect_session(self.telling)
        return outbox.status()

    def sync_status(self) -> SyncStatus:
        """Whether what runs told has reached the orchestrator, and what waits."""
        telling = self.telling or process_telling()
        if telling is None:
            return SyncStatus("off", problem="nobody is told of this session's runs; session.connect() changes that")
        return telling.outbox.status()

    def load_model(self, model: str) -> None:
        """Refused unless `model` is the one already loaded: results of one session all speak of the same weights.

        Raises:
            SessionError: with the way to open a second session.
        """
        if str(model) not in (self._asked, self.model.info.name):
            raise SessionError(
                f"This session is locked to {self.model.info.name}. Open another one for {model}:"
                f' Session("{model}"). A fine-tuned checkpoint of {self.model.info.name} goes to the verbs as'
                " checkpoint=."
            )

    def tuned(self, checkpoint: str | Path | None) -> Model:
        """The session's model, or its fine-tuned version; the latest one is kept for the next verb.

        Raises:
            CheckpointError: unreadable, or not of this model.
        """
        if checkpoint is None:
            return self.model
        key = _stamp(checkpoint)
        with self._tuning:
            if self._tuned is None or self._tuned[0] != key:
                self._tuned = None  # free the previous one before the next is loaded
                self._tuned = key, load_model(self._asked, checkpoint=str(checkpoint), **self._options)
            return self._tuned[1]

    def load_sae(
        self,
        user: str | None = None,
        *,
        path: str | Path | SaeTrain | None = None,
        public: int | None = None,
        layer: int | None = None,
    ) -> SparseAutoencoder:
        """Bind a dictionary without reloading the model, and return it.

        Args:
            user: a name you gave `sae.train`; `layer` picks one when it holds several.
            path: a dictionary file, or what `sae.train` gave.
            public: the layer of a public dictionary of this model under `$AQUIN_HOME/sae/<model>`.

        Raises:
            SessionError: not exactly one of user, path, public.
            DictionaryError: no such dictionary, unreadable, or its d_in is not the model's width.
        """
        if sum(x is not None for x in (user, path, public)) != 1:
            raise SessionError("load_sae wants exactly one of user=NAME, path=FILE or public=LAYER.")
        if user is not None:
            file = self._user_dictionary(user, layer)
        elif public is not None:
            file = home.dictionary_path(self.model.info.name, public)
        else:
            assert path is not None
            file = path.path if isinstance(path, SaeTrain) else Path(path)
        return self.bind(load_dictionary(file), layer)

    def pull_sae(self, slug: str, *, layer: int | None = None) -> SparseAutoencoder:
        """Download a public dictionary of this model once, and bind it; see `engine.sae.public.pull_dictionary`.

        >>> session.pull_sae("gpt2", layer=7)                    # doctest: +SKIP
        """
        from .engine.sae.public import pull_dictionary

        with visible(f"Pulling {slug}") as control:
            sae, notes = pull_dictionary(slug, layer=layer, model=self.model.info.name, control=control)
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return self.bind(sae)

    def bind(self, sae: SparseAutoencoder, layer: int | None = None) -> SparseAutoencoder:
        """Bind a dictionary that is already in memory to `layer` (default: its own), and return it on our device.

        Raises:
            DictionaryError: its d_in is not the model's width, or no layer is known.
        """
        sae.check_input(self.model.d_model, self.model.info.name)
        at = layer if layer is not None else sae.cfg.layer
        if at is None:
            raise DictionaryError("The dictionary does not say which layer it reads; pass layer=.")
        self.layer = self.model.check_layer(at)
        name = sae.cfg.name or "The dictionary"
        if not sae.cfg.complete:
            warnings.warn(f"{name} comes from a training that was stopped at step {sae.cfg.step:,}.", stacklevel=3)
        if sae.cfg.layer is not None and sae.cfg.layer != at:
            warnings.warn(f"{name} was trained on layer {sae.cfg.layer} and is bound to layer {at}.", stacklevel=3)
        if sae.cfg.layer == at and sae.cfg.hook not in ("", self.model.hook(at)):
            warnings.warn(
                f"{name} was trained on {sae.cfg.hook} and is bound to the output of block {at}.", stacklevel=3
            )
        trained_on = sae.cfg.model_fingerprint
        if trained_on and trained_on != self.model.info.fingerprint:
            warnings.warn(
                f"{name} was trained on other weights than {self.model.info.name} has here (a checkpoint or another"
                " version); it may describe them less well.",
                stacklevel=3,
            )
        self.dictionary = sae.to(self.model.device)
        return self.dictionary

    def _user_dictionary(self, user: str, layer: int | None) -> Path:
        model = self.model.info.name
        folder = home.dictionary_path(model, 0, user=user).parent
        unplaced = sorted(folder.glob("sae.pt"))  # trained on a tensor that did not say its layer
        if layer is not None:
            file = home.dictionary_path(model, layer, user=user)
            return unplaced[0] if unplaced and not file.exists() else file
        found = sorted(folder.glob("sae_layer*.pt")) or unplaced or sorted(folder.glob("sae_*.pt"))
        if len(found) == 1:
            return found[0]
        if found:
            if not found[0].stem.startswith("sae_layer"):
                raise DictionaryError(f"{user} holds {', '.join(f.name for f in found)}; pass path= to pick one.")
            layers = ", ".join(sorted((f.stem.removeprefix("sae_layer") for f in found), key=int))
            raise DictionaryError(f"{user} holds dictionaries of layers {layers}; pass layer= to pick one.")
        names = sorted({p.parent.name for p in folder.parent.glob("*/sae_layer*.pt")})
        known = did_you_mean(user, names) if names else "None has been trained yet: session.sae.train(layer)."
        raise DictionaryError(f"There is no dictionary {user!r} of {model}. {known}")

    def bound(self) -> tuple[SparseAutoencoder, int]:
        """The bound dictionary and its layer.

        Raises:
            SessionError: none is bound.
        """
        if self.dictionary is None or self.layer is None:
            raise SessionError(
                "No dictionary is bound. Train one with session.sae.train(layer) and session.load_sae(...)."
            )
        return self.dictionary, self.layer

    @told("capture_activations", "activationCapture")
    def capture_activations(
        self,
        prompts: str | Path | Sequence[Any] | None = None,
        *,
        count: int = 6,
        topic: str = "general knowledge",
        layers: str | int | Sequence[int] = "all",
        site: str = "hook_resid_post",
        position: Literal["last", "mean"] | None = None,
        checkpoint: str | Path | None = None,
        encode_sae: bool = False,
        sae_layer: int | None = None,
        name: str | None = None,
        output: str | Path | None = None,
    ) -> Capture:
        """Capture one vector a probe and layer.

        Args:
            prompts: JSON or JSONL file, or a list of strings, `{text|prompt: ..., **metadata}` or
                `{instruction, response}` rows; every extra key is kept. Default: `count` built-in probes on `topic`.
            layers: "all", one layer or several.
            site: what is read of every layer: the end of a site's name, such as "hook_mlp_out".
            position: "last" (token) or "mean" (over tokens, BOS left out). Default: "last" for language models,
                "mean" for embedding models, which have nothing else.
            checkpoint: a fine-tuned `.pt` to capture from instead of the base weights.
            encode_sae: also store the probes' features under the bound dictionary, at `sae_layer` (default: its own).
            output: a folder that does not exist yet or is empty; default `$AQUIN_HOME/captures/<name>`.

        Raises:
            ProbeError, ModelError, CheckpointError, DictionaryError, OutputError, NoSpace, OutOfMemory.
        """
        probes = read_probes(prompts) if prompts is not None else builtin_probes(topic, count)
        embedding = self.model.mode == "embedding"
        if position is None:
            position = "mean" if embedding else "last"
        chosen = self._layers(layers)
        sae, at = (None, None)
        if encode_sae:
            sae, bound_at = self.bound()
            at = bound_at if sae_layer is None else self.model.check_layer(sae_layer)
        elif sae_layer is not None:
            raise SessionError("sae_layer= does nothing without encode_sae=True.")
        run = name or home.run_name("capture")
        folder = Path(output).expanduser() if output is not None else home.captures_dir() / home.slugify(run)
        refuse_taken(folder, "manifest.json")
        model = self.tuned(checkpoint)
        started = datetime.now(UTC)
        with visible(f"Capturing {len(probes)} probes") as control:
            data = capture(
                model,
                probes,
                layers=chosen,
                site=site,
                position=position,
                output=folder,
                dictionary=sae,
                sae_layer=at,
                name=run,
                topic=None if prompts is not None else topic,
                about_dictionary=dictionary_ref(sae).model_dump() if sae is not None else None,
                control=control,
            )
        card = capture_card(data)
        card.created_at = card.started_at = started
        card.finish("completed")
        write_card(card, folder / "card.json")
        return Capture(data, card)

    @told("collect_activations", "activationStore")
    def collect_activations(
        self,
        corpus: Any = None,
        *,
        layers: int | str | Sequence[int | str] | None = None,
        tokens: int | None = None,
        text_key: str = "text",
        token_key: str | None = None,
        split: str = "train",
        seed: int | None = None,
        context_size: int | None = None,
        batch_size: int | None = None,
        pack: bool | None = None,
        bos: bool | None = None,
        exclude: Collection[str] = EXCLUDE,
        dtype: str = "auto",
        checkpoint: str | Path | None = None,
        name: str | None = None,
        output: str | Path | None = None,
        resume: bool = False,
    ) -> Job[Activations]:
        """Run a corpus through the model and keep the activations on disk; returns a `Job` at once.

        Dictionaries are trained on them without the model: `session.sae.train(activations=...)`.

        Args:
            corpus: as `session.sae.train`; also Parquet, Arrow, folders, pretokenised datasets (see `open_corpus`).
            layers: a layer (`hook_resid_post`), a hook such as "blocks.3.hook_mlp_out", a module path such as
                "model.layers.3.mlp", or a list of them, all read in one forward pass; default: the catalogue's layer.
            tokens: rows to keep; default 100,000 (2,000,000 on a GPU). For an embedding model a row is a text.
            text_key, token_key, split: where the texts, or the token ids, of a dataset are.
            seed: shuffles the documents; None keeps their order.
            context_size: tokens a row, BOS included; default 128 (embedding models: 32).
            batch_size: rows a forward pass; default: what suits the device, measured for a large collection.
            pack: documents end to end with EOS between them (default of language models), or one a row.
            bos: None: where the tokenizer has one; True: required; False: none.
            exclude: tokens that are not kept: "bos", "first" (position 0), "special".
            dtype: on disk: "auto", "float16", "bfloat16" or "float32".
            checkpoint: a fine-tuned `.pt` to read instead of the base weights.
            output: a folder or an fsspec URL; default `$AQUIN_HOME/activations/<model>/<name>`.
            resume: go on with a collection that was stopped or killed, or that is to have more rows; give the same
                corpus and settings. It ends with the same bytes as without the stop.

        Raises:
            at once: ModelError, CorpusError, NetworkError, NoSpace, OutputError, SessionError.
            from `wait()`: the same, StoreError, OutOfMemory, and Cancelled; what was collected is kept.

        >>> kept = session.collect_activations("texts.jsonl", layers=[5, 10], tokens=1_000_000).wait()  # doctest: +SKIP
        >>> session.sae.train(10, activations=kept)                                                     # doctest: +SKIP
        """
        return collect_activations(
            self,
            corpus,
            layers=layers,
            tokens=tokens,
            text_key=text_key,
            token_key=token_key,
            split=split,
            seed=seed,
            context_size=context_size,
            batch_size=batch_size,
            pack=pack,
            bos=bos,
            exclude=exclude,
            dtype=dtype,
            checkpoint=checkpoint,
            name=name,
            output=output,
            resume=resume,
        )

    def _layers(self, layers: str | int | Sequence[int]) -> list[int]:
        if layers == "all":
            return list(range(self.model.n_layers))
        if isinstance(layers, int):
            return [self.model.check_layer(layers)]
        if isinstance(layers, str) or not isinstance(layers, Sequence):
            raise ModelError(f'layers must be "all", a number or a list of numbers, not {layers!r}.')
        wanted: list[int] = [*layers]
        if not wanted:
            raise ModelError("layers is empty; name at least one layer.")
        return sorted({self.model.check_layer(layer) for layer in wanted})

    def inspect(self, text: str | Sequence[str], top: int = 10) -> Inspection:
        """Which features of the bound dictionary a text, or each of several, turns on: tokens × the `top` strongest.

        Raises:
            SessionError: no dictionary is bound.
            ProbeError: nothing in a text to look at.
        """
        sae, layer = self.bound()
        frame, tokens = inspect(self.model, sae, layer, text, top)
        return Inspection(
            text, frame, tokens, f"{sae.cfg.name or 'dictionary'} at layer {layer} of {self.model.info.name}"
        )

    def close(self) -> None:
        """Cancel what is running and forget the fine-tuned model; the files stay."""
        self.jobs.cancel_all()
        if self.telling is not None:
            self.telling.outbox.close()
        self._tuned = None
        if self._card.status == "running":
            self._card.finish("completed")


def _stamp(checkpoint: str | Path) -> Any:
    """What tells one state of a checkpoint from the next: a fine-tuning loop writes the same file again and again."""
    path = Path(checkpoint).expanduser()
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    seen = [(f.name, (s := f.stat()).st_mtime_ns, s.st_size, s.st_ino) for f in files]
    return str(path.absolute() if files else checkpoint), seen


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("aquin-nb", "torch", "transformers", "transformer-lens"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

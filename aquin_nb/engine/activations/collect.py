"""Run a corpus through the model and keep the activations at some of its sites, in a store that survives a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from ...control import Control
from ...errors import CorpusError, ModelError, OutputError, StoreError
from .batching import measured_rows, usual_rows
from .chunks import DTYPES, chunk_of, dtype_name, row_bytes
from .contexts import EXCLUDE, exclusions
from .corpus import Corpus
from .harvest import START, Harvest, Reading, harvest
from .journal import Part, names_of, recorded_part
from .manifest import SiteInfo
from .merge import merge
from .packing import Cursor
from .places import Place, place_of
from .store import Store
from .writer import StoreWriter

if TYPE_CHECKING:
    from ..models import Model
    from ..models.sites import Site

CHUNKS = 20  # at least, of a collection of 20,000 rows or more: what a kill may lose is a twentieth
HEADROOM = 8.0  # "auto" takes float16 only if the first batch stays this far below its largest number

Sites: TypeAlias = "int | str | Site | Sequence[int | str | Site]"


def collect(
    model: Model,
    corpus: Corpus,
    sites: Sites,
    *,
    tokens: int,
    output: Path | str | Place,
    context_size: int = 128,
    batch_size: int | None = None,
    pack: bool | None = None,
    bos: bool | None = None,
    exclude: Collection[str] = EXCLUDE,
    dtype: str = "auto",
    minimum: int = 1,
    chunk_rows: int | None = None,
    resume: bool = False,
    part: Part | None = None,
    control: Control | None = None,
) -> Store:
    """Store the activations of `tokens` analysed tokens of a corpus (embedding models: of `tokens` texts).

    Args:
        model: loaded.
        corpus: see `open_corpus`; a shorter one is used up, and `Store.notes` says so.
        sites: a layer (its `hook_resid_post`), a hook, or several, see `Model.site`; one forward pass serves them all
            and ends after the last.
        tokens: rows wanted; exactly so many are stored when the corpus is long enough.
        output: a new or empty folder, or a URL that fsspec knows.
        context_size: tokens a row, BOS included.
        batch_size: rows a forward pass; None takes 2,048 tokens on a CPU and 16,384 on an accelerator, and for a large
            collection of one process measures what is fastest.
        pack, bos, exclude: see `contexts`.
        dtype: on disk: float16, bfloat16, float32, or auto: bfloat16 for a bfloat16 model (exact), else float16 if the
            first batch fits into it with room (of several ranks: in any case), else bfloat16.
        minimum: fewer rows than this are an error (the trainer passes one batch); nothing is left behind then.
        chunk_rows: rows a chunk, which is what a kill may lose; None keeps chunks below 32 MB (of very large stores
            256 MB) and a twentieth of `tokens` (1,000 rows at least).
        resume: go on with what `output` holds, stopped, killed or complete with fewer rows; start where it holds
            nothing. The store ends with the same bytes as without a stop, on the same kind of processor.
        part: (rank, world), where several processes collect into one folder: each takes every world-th document and
            its share of `tokens`; the last to end makes them one store.
        control: progress in rows under the stage "collect", and cancelling.

    On `Cancelled`, and on any other error, what was collected so far stays as a readable store with complete=false.

    Raises:
        CorpusError: the corpus is shorter than `minimum`.
        StoreError: an activation is not finite, or does not fit `dtype`; what is resumed is another collection.
        NoSpace: the rows would not fit on the disk; known before the first forward pass.
        OutputError: `output` holds something already, or another writer is at work there.
        ModelError, OutOfMemory, Cancelled: see `harvest` and `Control`.

    >>> collect(model, open_corpus(), [2, 4], tokens=1000, output="store")        # doctest: +SKIP
    Store('store', 1,000 rows of 2 sites)
    """
    control, place = control or Control(), place_of(output)
    found = sites_of(model, sites)
    a_rank, tokens = tokens // (1 if part is None else part[1]), _share(tokens, part)
    before = _before(place, part, tokens) if resume else None
    dtype = dtype_name(dtype) if before is None else _kept(before, "dtype", dtype, "auto")
    width = sum(site.width for site in found)
    widest = "float32" if dtype == "float32" else "float16"
    if before is None:
        place.require_space(tokens * row_bytes(width, widest), f"Keeping {tokens:,} rows of {width:,} {widest} values")
    if batch_size is None:
        if before is not None:
            batch_size = int(before["batch_size"])
        elif part is None:
            batch_size = measured_rows(model, found, context_size, tokens)
        else:
            batch_size = usual_rows(model, context_size)  # ranks would measure different ones: no store of one kind
    reading = Reading(
        model, corpus, found, context_size, batch_size, pack, bos, tuple(exclude), part if part is not None else (0, 1)
    )
    unit = f"{reading.unit}s"
    passes: Iterator[Harvest] | None = None
    if before is None:  # before the folder is claimed: errors of the model and the corpus leave nothing behind
        control.tick("collect", 0, tokens, unit)
        passes = harvest(reading)
        first = next(passes, None)
        if first is None:
            raise CorpusError(f"{corpus.name} gives no token to analyse; give a corpus with longer texts.")
        dtype = _chosen_dtype(dtype, first.x, part)
        if chunk_rows is None:
            chunk_rows = min(chunk_of(width, dtype, a_rank), max(1000, a_rank // CHUNKS))  # the same for all ranks
        passes = chain([first], passes)
    infos = [SiteInfo(site.hook, site.layer, site.width) for site in found]
    with StoreWriter(
        place,
        infos,
        dtype=dtype,
        about=_about(reading),
        chunk_rows=chunk_rows,
        total=tokens,
        resume=resume,
        part=part,
    ) as writer:
        _write(writer, reading, passes, tokens, control)
        if writer.rows < min(minimum, tokens):
            writer.discard()
            raise CorpusError(
                f"{corpus.name} gives only {writer.rows:,} {unit} to analyse and {min(minimum, tokens):,} are needed"
                " for one batch; give a longer corpus or a smaller batch."
            )
        writer.notes += _notes(corpus, writer.rows, tokens, unit)
        store = writer.close()
    return _joined(place) if part is not None else store


def sites_of(model: Model, wanted: Sites) -> tuple[Site, ...]:
    """The sites that were asked for, each once.

    Raises:
        ModelError: none, or one that the model does not have.
    """
    several = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    found = {site.hook: site for site in (model.site(one) for one in several)}
    if not found:
        raise ModelError("There is no site to read; name a layer or a hook at least.")
    return tuple(found.values())


def _write(
    writer: StoreWriter, reading: Reading, passes: Iterator[Harvest] | None, tokens: int, control: Control
) -> None:
    """Forward passes into the writer until it has `tokens` rows; without any, from where it has to go on."""
    unit = f"{reading.unit}s"
    if passes is None:
        control.tick("collect", writer.rows, tokens, unit)  # before the first: a rate counts what is new
        passes = harvest(reading, Cursor(**writer.cursor) if writer.cursor else START)
    while writer.rows < tokens and (taken := next(passes, None)) is not None:
        writer.mark(taken.begins._asdict())
        room = writer.skip + tokens - writer.rows  # of a trimmed store several batches are dropped
        writer.add(
            {hook: x[:room] for hook, x in taken.x.items()},
            taken.token_ids[:room],
            taken.documents[:room],
            taken.positions[:room],
        )
        control.tick("collect", writer.rows, tokens, unit)


def _share(tokens: int, part: Part | None) -> int:
    """Of `tokens` rows, those of one rank."""
    if tokens < 1:
        raise CorpusError(f"tokens={tokens} asks for nothing; it must be at least 1.")
    if part is None:
        return tokens
    rank, world = part
    if not 0 <= rank < world:
        raise StoreError(f"part={part}: the rank must be from 0 to {world - 1}.")
    return tokens // world + (rank < tokens % world)


def _before(place: Place, part: Part | None, tokens: int) -> dict[str, Any] | None:
    """The manifest of what is to be gone on with, if there is any."""
    sizes = place.sizes()
    if names_of(part).manifest not in sizes and names_of(None).manifest not in sizes:
        return None
    found = recorded_part(place, part, sizes)
    if found is None:
        return None
    rows = sum(chunk.rows for chunk in found.chunks)
    if rows > tokens:
        raise StoreError(f"{place.address} holds {rows:,} rows already, more than the {tokens:,} asked for.")
    return found.manifest


def _kept(before: dict[str, Any], key: str, asked: str, default: str) -> str:
    """A setting of the store that is gone on with, unless something else was asked for."""
    return str(before.get(key)) if asked == default else asked


def _joined(place: Place) -> Store:
    """The store of all ranks, made one by whichever ends last."""
    store = Store(place)
    if not store.complete:
        return store
    try:
        return merge(place)
    except OutputError:  # another rank ended at the same moment and is doing it
        return store


def _chosen_dtype(wanted: str, first: dict[str, Tensor], part: Part | None) -> str:
    if wanted != "auto":
        return wanted
    if all(x.dtype == torch.bfloat16 for x in first.values()):
        return "bfloat16"
    if part is not None:
        return "float16"  # a choice by the first batch could differ from rank to rank
    limit = torch.finfo(DTYPES["float16"]).max
    fits = all(float(x.abs().amax()) * HEADROOM <= limit for x in first.values())
    return "float16" if fits else "bfloat16"


def _about(reading: Reading) -> dict[str, Any]:
    corpus = reading.corpus
    return {
        "model": dataclasses.asdict(reading.model.info),
        "unit": reading.unit,
        "context_size": reading.context_size,
        "batch_size": reading.batch_size,
        "pack": reading.pack,
        "bos": reading.bos,
        "corpus": {"name": corpus.name, "why": corpus.why, "fingerprint": corpus.fingerprint()},
        "exclusions": exclusions(reading.model, reading.exclude, reading.bos),
    }


def _notes(corpus: Corpus, rows: int, wanted: int, unit: str) -> list[str]:
    notes = []
    if rows < wanted:
        notes.append(f"{corpus.name} gave {rows:,} of the {wanted:,} {unit} asked for.")
    if corpus.blank:
        notes.append(f"{corpus.blank:,} blank documents of {corpus.name} were left out.")
    return notes

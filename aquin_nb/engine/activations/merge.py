"""Make one store of the parts that several ranks wrote into one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import StoreError
from .journal import Names, names_of, ranks_in, recorded, recorded_parts, unmoved, world_of
from .ledger import combined, manifest_bytes, summaries, temporaries
from .locks import locked
from .manifest import MANIFEST
from .places import Place, place_of
from .store import Store, sites_of


def merge(folder: Path | str | Place) -> Store:
    """Write one manifest for all parts, the chunks of rank 0 first, then those of rank 1, and so on.

    One process does it when all ranks have closed their writers; the chunks stay as they are. Merging what is merged
    already changes nothing, and a merge that was killed is simply repeated. The ranks can go on with a merged store
    (`resume=True`, as many ranks as before); then it is merged once more.

    Raises:
        StoreError: a part is missing or not complete, parts do not belong together, or a chunk is damaged.
        OutputError: a rank is still writing.

    >>> if rank == 0:                                                         # doctest: +SKIP
    ...     store = merge("/scratch/pythia-layer3")
    """
    place = place_of(folder)
    world = unmoved(place, lambda ranks: world_of(place, ranks))
    if world is None:
        raise StoreError(f"{place.address} was written by one writer; there is nothing to merge.")
    names = [names_of((rank, world)) for rank in range(world)]
    with locked(place, names_of(None).lock, *(part.lock for part in names)):
        if ranks_in(place.sizes()):
            _merge(place, names)
    return Store(place)


def _merge(place: Place, names: Sequence[Names]) -> None:
    found, parts = recorded(place), recorded_parts(place, place.sizes())
    unfinished = [str(rank) for rank, part in enumerate(parts) if part is None or not part.complete]
    if unfinished:
        raise StoreError(
            f"{place.address}: of {len(parts)} parts these are not complete: {', '.join(unfinished)}. Let these ranks"
            " go on (resume=True) to their end, and merge then; what is there can be read."
        )
    sites = sites_of(found.manifest, place.address)
    state = {
        "complete": True,
        "statistics": summaries(sites, combined(place, sites, found.chunks)),
        "notes": found.notes,
        "chunks": [chunk.record() for chunk in found.chunks],
    }
    place.write(MANIFEST, manifest_bytes(found.manifest | state))
    place.remove(*(name for part in names for name in (part.journal, part.manifest)), *temporaries(place))

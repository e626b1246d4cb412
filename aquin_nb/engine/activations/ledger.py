"""What a writer has on disk: it claims the folder, keeps chunk after chunk, and says so in journal and manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from torch import Tensor

from ... import files
from ...errors import OutputError, StoreError
from .chunks import ORIGINS, ChunkInfo, part_name, read_statistics, write_tensors
from .journal import Part, Recorded, difference, names_of, recorded_part, what
from .locks import Lock
from .manifest import MANIFEST, SiteInfo
from .places import Place
from .statistics import NormStatistics

_TEMPORARY = re.compile(r"(chunks/)?\..*\.part")
_LOCK = re.compile(r"\.lock|\.r\d+\.lock")
_OF_RANKS = re.compile(r"(manifest|chunks)\.r\d+\.jsonl?|chunks/r\d+_\d+\.safetensors")


class Written(NamedTuple):
    """A chunk, and the statistics of each of its sites."""

    chunk: ChunkInfo
    statistics: list[NormStatistics]


class Ledger:
    """The files of one writer, which holds the folder's lock until `release`.

    Args:
        place: the store.
        head: what the manifest says of what is collected; `chunk_rows` None takes those of the store that is resumed,
            else `usual_rows`.
        resume: go on with what there is.
        part: (rank, number of ranks).

    Attributes: `chunks` on disk, in order; `resumed`: there was something to go on from.

    Raises:
        OutputError, StoreError: see `StoreWriter`.
    """

    def __init__(
        self, place: Place, head: Mapping[str, Any], usual_rows: int, *, resume: bool, part: Part | None
    ) -> None:
        self.place, self.chunks = place, list[ChunkInfo]()
        self.head: dict[str, Any] = json.loads(json.dumps(head))  # as it will be read
        self._part, self._names = part, names_of(part)
        self._refuse_others(place.sizes(), resume)
        place.prepare()
        self._lock = Lock(place, self._names.lock)
        self._lock.take()
        try:
            sizes = place.sizes()
            self._refuse_others(sizes, resume)  # once more: another writer may have begun and ended in between
            before = recorded_part(place, part, sizes) if resume else None
            self.resumed = before is not None
            self._created = datetime.now(UTC).isoformat(timespec="seconds")
            if before is not None:
                self._adopt(before, sizes)
            if self.head["chunk_rows"] is None:
                self.head["chunk_rows"] = usual_rows
            self.publish(complete=False, statistics={}, notes=[])
            place.remove(*(name for name in sizes if self._is_left_over(name)))
        except BaseException:
            self.release()
            raise

    def file(self, number: int) -> str:
        """The name of a chunk."""
        return self._names.chunk(number)

    def keep(
        self, file: str, x: Sequence[Tensor], origins: Sequence[Tensor], cursor: Mapping[str, int], skip: int
    ) -> Written:
        """Write a chunk, a line of the journal, and then give the chunk its name.

        Raises:
            OutputError, NoSpace, NetworkError: nothing changed, but for a line that names what is not there.
        """
        return keep(self.place, self._names.journal, file, x, origins, cursor, skip)

    def publish(self, *, complete: bool, statistics: Mapping[str, Any], notes: Sequence[str]) -> None:
        """Write the manifest with all chunks; the journal has done its part then."""
        self.place.write(self._names.manifest, manifest_bytes(self._manifest(complete, statistics, notes)))
        self.place.remove(self._names.journal)

    def discard(self) -> None:
        """Remove all files of this writer, and the folders if nothing else is in them."""
        own = [name for name in self.place.sizes() if self._names.mine(name) or name == self._names.manifest]
        self.place.remove(*own, self._names.journal)
        self.release()
        self.place.vanish()

    def release(self) -> None:
        """Let another writer have the folder."""
        self._lock.release()

    def _manifest(self, complete: bool, statistics: Mapping[str, Any], notes: Sequence[str]) -> dict[str, Any]:
        first = {key: self.head[key] for key in ("schema_version", "kind")}
        part = {} if self._part is None else {"part": self._part[0]}
        state = {"complete": complete, "statistics": dict(statistics), "notes": list(notes)}
        chunks = {"chunks": [chunk.record() for chunk in self.chunks]}
        return first | {"created_at": self._created} | self.head | part | state | chunks

    def _adopt(self, before: Recorded, sizes: Mapping[str, int]) -> None:
        address = self.place.address
        old = what(before.manifest)
        if old["schema_version"] != self.head["schema_version"]:
            raise StoreError(
                f"{address} was written by an older aquin-nb (schema {old['schema_version']}): it can be read, but not"
                " gone on with. Collect into a new folder."
            )
        if self.head["chunk_rows"] is None:
            self.head["chunk_rows"] = old.get("chunk_rows")
        if problem := difference(old, self.head):
            raise StoreError(f"{address} was collected with other settings: {problem}. Collect into a new folder.")
        self._created = str(before.manifest.get("created_at"))
        self.chunks = before.chunks
        damaged = [chunk.file for chunk in self.chunks[:-1] if sizes.get(chunk.file) != chunk.bytes]
        if damaged:
            raise StoreError(
                f"{address} cannot be gone on with: {', '.join(damaged)} is damaged or missing. Store.trim keeps the"
                " rows before it."
            )
        if self.chunks and not self._is_sound(self.chunks[-1], sizes):
            self.chunks.pop()  # what the last lines of a killed writer left: it is collected again

    def _is_sound(self, chunk: ChunkInfo, sizes: Mapping[str, int]) -> bool:
        if sizes.get(chunk.file) != chunk.bytes:
            return False
        try:
            return files.sha256(self.place.file(chunk.file, chunk.sha256)) == chunk.sha256
        except StoreError:
            return False

    def _is_left_over(self, name: str) -> bool:
        """Whether a writer with our names left this behind."""
        if self._names.mine(name):
            return name not in {chunk.file for chunk in self.chunks}
        mine = (f".{self._names.manifest}.", f"chunks/.{self._names.prefix.removeprefix('chunks/')}")
        return name.endswith(".part") and name.startswith(mine)

    def _refuse_others(self, sizes: Mapping[str, int], resume: bool) -> None:
        address, absence = self.place.address, self.place.absence()
        if absence == "a file":
            raise OutputError(f"{address} is a file; output= wants a folder.")
        known = self._names.manifest in sizes or (self._part is not None and MANIFEST in sizes)
        if known and resume:
            return
        others = [name for name in sizes if not (_TEMPORARY.fullmatch(name) or _LOCK.fullmatch(name))]
        if self._part is not None:
            own = (self._names.manifest, self._names.journal)
            others = [name for name in others if name in own or self._names.mine(name) or not _OF_RANKS.fullmatch(name)]
        if not others:
            return
        if resume and self._part is None and any(_OF_RANKS.fullmatch(name) for name in others):
            raise StoreError(f"{address} holds what several ranks collected: go on with as many, or merge it first.")
        content = "an earlier result" if known else "other files"
        raise OutputError(
            f"{address} already holds {content}; nothing was written. Choose another name= or output=, or delete it"
            " first."
        )


def keep(
    place: Place,
    journal: str,
    file: str,
    x: Sequence[Tensor],
    origins: Sequence[Tensor],
    cursor: Mapping[str, int],
    skip: int,
) -> Written:
    """See `Ledger.keep`; x and origins: [n, d_in] a site, and [n] int32, in memory of their own."""
    statistics = [NormStatistics(part.shape[1]) for part in x]
    tensors = dict(zip(ORIGINS, origins, strict=True))
    for site, (values, found) in enumerate(zip(x, statistics, strict=True)):
        found.add(values)
        tensors[part_name(site)] = values
        tensors |= {part_name(site, name): tensor for name, tensor in found.tensors().items()}
    with place.writing(file) as temporary:
        digest = write_tensors(temporary, tensors)
        chunk = ChunkInfo(file, len(origins[0]), digest, temporary.stat().st_size, dict(cursor), skip)
        place.append(journal, json.dumps(chunk.record()).encode() + b"\n")
    return Written(chunk, statistics)


def temporaries(place: Place) -> list[str]:
    """What writers that were killed left half written."""
    return [name for name in place.sizes() if _TEMPORARY.fullmatch(name)]


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """As files have it."""
    return (json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def summaries(sites: Sequence[SiteInfo], statistics: Sequence[NormStatistics]) -> dict[str, Any]:
    """Statistics as a manifest keeps them, by hook."""
    return {site.hook: found.summary() for site, found in zip(sites, statistics, strict=True)}


def combined(place: Place, sites: Sequence[SiteInfo], chunks: Sequence[ChunkInfo]) -> list[NormStatistics]:
    """Statistics of these chunks, combined in their order, one a site.

    Raises:
        StoreError: a chunk is damaged or missing.
    """
    totals = [NormStatistics(site.d_in) for site in sites]
    for chunk in chunks:
        for total, part in zip(totals, read_statistics(place, chunk.file, len(sites)), strict=True):
            total.combine(part)
    return totals

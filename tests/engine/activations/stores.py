"""Stores whose rows say their own number, so that any mix-up shows, and what they look like on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aquin_nb.engine.activations.journal import Part
from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.writer import StoreWriter

MIDDLE = SiteInfo("blocks.3.hook_resid_post", 3, 5)
INNER = SiteInfo("blocks.3.hook_mlp_out", 3, 2)
LATER = SiteInfo("model.layers.7.mlp", None, 3)
ONE, SEVERAL = [MIDDLE], [MIDDLE, INNER, LATER]
ABOUT = {
    "model": {"name": "none", "fingerprint": "f"},
    "unit": "token",
    "context_size": 8,
    "corpus": {"name": "none", "why": "test"},
    "exclusions": "none",
}


def rows(start: int, stop: int, site: SiteInfo = MIDDLE) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows with these numbers: x [n, d_in] float32, token_ids, documents, positions."""
    number = torch.arange(start, stop)
    x = number[:, None] % 512 + torch.arange(site.d_in) / 4 + 0.5 * len(site.hook)
    return x, number * 3, number // 7, number % 7


def write(
    folder: Path | str,
    total: int,
    *,
    chunk_rows: int | None = 10,
    step: int = 7,
    dtype: str = "float32",
    sites: list[SiteInfo] = ONE,
    resume: bool = False,
    part: Part | None = None,
    first: int = 0,
    about: dict[str, Any] = ABOUT,
) -> Store:
    """Collect the rows from number `first` to `total`, in batches of `step`, as a collection does."""
    with StoreWriter(
        folder, sites, dtype=dtype, about=about, chunk_rows=chunk_rows, resume=resume, part=part
    ) as writer:
        for start in range(writer.cursor.get("row", first), total, step):
            writer.mark({"row": start, "again": start // 2})
            stop = min(start + step, total)
            writer.add({site.hook: rows(start, stop, site)[0] for site in sites}, *rows(start, stop)[1:])
        return writer.close()


def assert_holds(store: Store, first: int = 0) -> None:
    """The store is sound and holds the rows from number `first` on, at every site."""
    assert store.verify() == store.rows
    for site in store.sites:
        of_site, start = store.at(site), first
        for index, chunk in enumerate(store.chunks):
            x, ids, documents, positions = of_site.read(index)
            wanted = rows(start, start + chunk.rows, site)
            assert torch.equal(x, wanted[0].to(store.dtype))
            for found, expected in zip((ids, documents, positions), wanted[1:], strict=True):
                assert found.dtype == torch.int32
                assert torch.equal(found, expected.int())
            assert torch.equal(of_site.x(index), x)
            start += chunk.rows
        assert start - first == store.rows
        assert of_site.statistics["rows"] == store.rows


def contents(folder: Path) -> dict[str, Any]:
    """Every file of a store with its bytes; of manifests all but when they were begun."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = path.read_bytes()
    for name in found:
        if name.startswith("manifest"):
            manifest = json.loads(found[name])
            assert manifest.pop("created_at")
            found[name] = json.dumps(manifest)
    return found

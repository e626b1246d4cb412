"""Sites of one store side by side: the rows of each, read together, and known apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_stream import numbered, numbers, stored

from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.errors import StoreError

SITES = [SiteInfo("blocks.1.hook_resid_post", 1, 2), SiteInfo("blocks.1.hook_mlp_out", 1, 3), SiteInfo("norm", None, 2)]


def values(count: int) -> list[torch.Tensor]:
    return [numbered(count), -numbered(count)[:, :1].repeat(1, 3), numbered(count) + 0.5]


def several(folder: Path, count: int = 900, chunk_rows: int = 200, documents: torch.Tensor | None = None) -> Store:
    about = {"model": {}, "unit": "token", "corpus": {}, "exclusions": ""}
    with StoreWriter(folder, SITES, dtype="float32", about=about, chunk_rows=chunk_rows) as writer:
        origin = torch.arange(count) // 5 if documents is None else documents
        x = {site.hook: rows for site, rows in zip(SITES, values(count), strict=True)}
        writer.add(x, origin, origin, origin)
        return writer.close()


@pytest.mark.parametrize("buffer", [None, 150])
def test_a_batch_holds_the_same_row_of_every_site(tmp_path, buffer):
    store = several(tmp_path / "s")
    stream = ShuffledStream([store.at(site.hook) for site in SITES], 30, buffer_rows=buffer)
    joined = torch.cat(values(900), 1)
    assert stream.widths == [2, 3, 2]
    for batch in [*stream.epoch(0), stream.held_out()]:
        assert torch.equal(batch, joined[batch[:, 0].long()])
    alone = ShuffledStream(store.at(SITES[0]), 30, buffer_rows=buffer)
    assert numbers(stream.epoch(0)) == numbers(alone.epoch(0))


def test_origins_are_read_once_for_all_sites(tmp_path, monkeypatch):
    store = several(tmp_path / "s")
    read: list[int] = []
    origins = Store.origins
    monkeypatch.setattr(Store, "origins", lambda self, chunk: (read.append(chunk), origins(self, chunk))[1])
    stream = ShuffledStream([store.at(site) for site in SITES], 30, buffer_rows=150)
    list(stream.epoch(0))
    assert sorted(read) == list(range(len(store.chunks)))


def test_sites_go_with_other_stores_and_tensors_in_the_order_given(tmp_path):
    documents = torch.arange(900) // 5
    store, other = several(tmp_path / "s"), stored(tmp_path / "o", numbered(900) * 2, 70, documents)
    with pytest.raises(StoreError, match="rows of different tokens"):  # the other's token ids are all 0
        ShuffledStream([store.at("norm"), other], 30)
    x = numbered(900) * 4
    stream = ShuffledStream([store.at("norm"), x, store.at(SITES[1]), store.at(SITES[0])], 30, buffer_rows=150)
    assert stream.widths == [2, 2, 3, 2]
    for batch in stream.epoch(2):
        row = batch[:, 7:8]
        expected = torch.cat([row + 0.5, row + 0.5, 4 * row, 4 * row, -row, -row, -row, row, row], 1)
        assert torch.equal(batch, expected)


def test_a_store_of_several_sites_asks_for_one(tmp_path):
    with pytest.raises(StoreError, match=r"holds 3 sites: blocks.1.hook_resid_post, .*Choose one: store.at"):
        ShuffledStream(several(tmp_path / "s"), 30)


def test_sites_of_one_store_are_known_apart(tmp_path):
    store = several(tmp_path / "s")
    first, last = (ShuffledStream(store.at(site), 30) for site in (SITES[0], SITES[2]))
    assert first.d_in == last.d_in == 2
    assert first.fingerprint() != last.fingerprint()
    assert first.fingerprint() == ShuffledStream(Store(store.path, SITES[0].hook), 10).fingerprint()
    described = {"kind": "store", "path": str(store.path), "site": "norm"}
    assert last.describe() == described
    both = ShuffledStream([store.at("norm"), store.at(SITES[0])], 30)
    assert both.describe()["parts"][0] == described
    assert both.fingerprint() != ShuffledStream([store.at(SITES[0]), store.at("norm")], 30).fingerprint()


def test_a_bad_value_names_its_site(tmp_path):
    store = several(tmp_path / "s")
    path = store.path / store.chunks[2].file
    parts = load_file(path)
    parts["x.1"][7, 2] = float("inf")
    save_file(parts, path)
    list(ShuffledStream([store.at(SITES[0]), store.at("norm")], 30, held_out=0).epoch(0))
    stream = ShuffledStream([store.at(site) for site in SITES], 30, held_out=0)
    with pytest.raises(StoreError, match=r"000002.safetensors holds infinity in its row 7 at blocks.1.hook_mlp_out, r"):
        list(stream.epoch(0))
    with pytest.raises(StoreError, match=r"row 407 of the store"):
        list(stream.epoch(0))

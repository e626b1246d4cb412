"""Parts that several ranks wrote: readable before they are merged, one store afterwards, and able to go on."""

from __future__ import annotations

import json

import pytest
import torch
from stores import ABOUT, LATER, ONE, SEVERAL, assert_holds, contents, rows, write

from aquin_nb.engine.activations.merge import merge
from aquin_nb.engine.activations.places import Folder
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.errors import OutputError, StoreError


def collect(folder, totals=(23, 31, 8), ranks=None, **options):
    """Rank r has the rows from number 1000 r on."""
    for rank in ranks if ranks is not None else range(len(totals)):
        first = 1000 * rank
        write(folder, first + totals[rank], first=first, part=(rank, len(totals)), sites=SEVERAL, **options)


def numbers(store: Store) -> list[int]:
    return [number // 3 for chunk in range(len(store.chunks)) for number in store.origins(chunk).token_ids.tolist()]


EXPECTED = [*range(23), *range(1000, 1031), *range(2000, 2008)]


def test_parts_become_one_store_rank_after_rank(tmp_path):
    collect(tmp_path / "s", ranks=[2, 0, 1])
    assert sorted(path.name for path in (tmp_path / "s/chunks").iterdir())[:3] == [
        "r00_000000.safetensors",
        "r00_000001.safetensors",
        "r00_000002.safetensors",
    ]
    for store in (Store(tmp_path / "s"), merge(tmp_path / "s"), Store(tmp_path / "s")):
        assert (store.rows, store.complete, store.notes) == (62, True, [])
        assert store.verify() == 62
        assert numbers(store) == EXPECTED
        x = torch.cat([rows(1000 * rank, 1000 * rank + n, LATER)[0] for rank, n in enumerate((23, 31, 8))])
        of_site = store.at(LATER)
        assert torch.equal(torch.cat([of_site.x(chunk) for chunk in range(len(store.chunks))]), x)
        assert torch.allclose(of_site.mean(), x.mean(0))
        assert of_site.statistics["mean_norm"] == pytest.approx(float(x.norm(dim=1).mean()))
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"manifest.json", "chunks"}
    assert json.loads((tmp_path / "s/manifest.json").read_text())["parts"] == 3


def test_which_rank_ended_first_makes_no_difference(tmp_path):
    for name, ranks in (("a", [0, 1, 2]), ("b", [2, 1, 0])):
        collect(tmp_path / name, ranks=ranks)
        merge(tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_merging_twice_changes_nothing(tmp_path):
    collect(tmp_path / "s")
    merge(tmp_path / "s")
    before = contents(tmp_path / "s")
    merge(tmp_path / "s")
    assert contents(tmp_path / "s") == before


def test_ranks_go_on_with_a_merged_store(tmp_path):
    collect(tmp_path / "s", (13, 31, 5))
    merge(tmp_path / "s")
    collect(tmp_path / "s", ranks=[1, 0], resume=True)
    store = Store(tmp_path / "s")
    assert (store.rows, store.complete) == (23 + 31 + 5, True)  # rank 2 has what it had
    collect(tmp_path / "s", ranks=[2], resume=True)
    merge(tmp_path / "s")
    collect(tmp_path / "whole")
    merge(tmp_path / "whole")
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_a_merged_store_can_be_trimmed_and_gone_on_with(tmp_path):
    collect(tmp_path / "whole")
    whole = contents(merge(tmp_path / "whole").path)
    for kept in (61, 54, 40, 23, 4):
        folder = tmp_path / str(kept)
        collect(folder)
        merge(folder)
        assert numbers(Store(folder).trim(kept)) == EXPECTED[:kept]
        collect(folder, resume=True)
        merge(folder)
        assert contents(folder) == whole


def test_what_is_not_complete_is_readable_and_not_merged(tmp_path):
    folder = tmp_path / "s"
    collect(folder, ranks=[0])
    with StoreWriter(folder, SEVERAL, dtype="float32", about=ABOUT, chunk_rows=10, part=(2, 3)) as writer:
        writer.notes.append("stopped")
        x = {site.hook: rows(2000, 2015, site)[0] for site in SEVERAL}
        writer.add(x, *rows(2000, 2015)[1:])
        with pytest.raises(OutputError, match="being written by another"):
            merge(folder)
    store = Store(folder)
    assert (store.rows, store.complete) == (38, False)
    assert store.notes == ["Part 1 of 3 is not there yet.", "Part 2 of 3: stopped"]
    assert numbers(store) == [*range(23), *range(2000, 2015)]
    before = contents(folder)
    with pytest.raises(StoreError, match=r"of 3 parts these are not complete: 1, 2. Let these ranks go on"):
        merge(folder)
    with pytest.raises(StoreError, match="not joined yet: do so with"):
        store.trim(3)
    assert contents(folder) == before


def test_parts_that_do_not_belong_together_are_told(tmp_path):
    folder = tmp_path / "s"
    write(folder, 5, part=(0, 2))
    write(folder, 5, part=(1, 2))
    path = folder / "manifest.r01.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"model": {"name": "other"}}))
    for read in (lambda: Store(folder), lambda: merge(folder)):
        with pytest.raises(StoreError, match=r"part 1 has model.name 'other' where there was 'none'"):
            read()


def test_one_writer_and_several_do_not_share_a_folder(tmp_path):
    write(tmp_path / "one", 5)
    write(tmp_path / "parts", 5, part=(0, 2))
    with pytest.raises(OutputError, match="already holds"):
        write(tmp_path / "one", 5, part=(0, 2))
    with pytest.raises(OutputError, match="already holds"):
        write(tmp_path / "parts", 5)
    with pytest.raises(StoreError, match="go on with as many, or merge it first"):
        write(tmp_path / "parts", 5, resume=True)
    with pytest.raises(StoreError, match="by 2 ranks, not by 3 ranks"):
        write(tmp_path / "parts", 9, part=(0, 3), resume=True)
    with pytest.raises(StoreError, match="nothing to merge"):
        merge(tmp_path / "one")
    assert_holds(Store(tmp_path / "one"))


def test_a_rank_starts_beside_the_others_but_not_twice(tmp_path):
    write(tmp_path / "s", 5, part=(0, 2), sites=ONE)
    with pytest.raises(OutputError, match="already holds an earlier result"):
        write(tmp_path / "s", 5, part=(0, 2))
    write(tmp_path / "s", 5, part=(1, 2))
    assert Store(tmp_path / "s").rows == 10


def test_reading_while_another_rank_merges(tmp_path, monkeypatch):
    """What was listed is gone when it is read: it is all in the merged manifest by then."""
    for read in (Store, merge):
        folder = tmp_path / read.__name__
        collect(folder)
        real, merged = Folder.sizes, []

        def moving(place, folder=folder, merged=merged, real=real):
            sizes = real(place)
            if not merged:
                merged.append(True)
                merge(folder)
            return sizes

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "sizes", moving)
            store = read(folder)
        assert (merged, store.rows, store.complete) == ([True], 62, True)

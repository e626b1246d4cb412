"""The writer: chunks by row counts alone, going on where it was stopped, and what stands in its way said in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from stores import ABOUT, INNER, LATER, MIDDLE, ONE, SEVERAL, assert_holds, contents, rows, write

from aquin_nb import files
from aquin_nb.engine.activations import ledger, places
from aquin_nb.engine.activations.chunks import chunk_of, row_bytes, write_tensors
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.errors import NoSpace, OutputError, StoreError


def writer(folder: Path, **changes) -> StoreWriter:
    options = {"sites": ONE, "dtype": "float32", "about": ABOUT, "chunk_rows": 10} | changes
    return StoreWriter(folder, options.pop("sites"), **options)


def batch(start: int, stop: int, sites=ONE) -> tuple:
    return {site.hook: rows(start, stop, site)[0] for site in sites}, *rows(start, stop)[1:]


class TestChunks:
    def test_without_a_number_a_chunk_has_32_megabytes(self):
        assert chunk_of(768, "float16") * row_bytes(768, "float16") == pytest.approx(32 << 20, rel=0.001)
        assert chunk_of(3 * 768, "float32", 10**6) * row_bytes(3 * 768, "float32") == pytest.approx(32 << 20, rel=0.001)

    def test_large_stores_have_a_few_thousand_chunks_of_256_megabytes_at_most(self):
        for rows_ in (10**8, 3 * 10**8, 10**9):
            size = chunk_of(768, "float16", rows_)
            assert rows_ / size <= 6000
            assert size * row_bytes(768, "float16") <= 256 << 20
        assert 10**8 / chunk_of(768, "float16", 10**8) == pytest.approx(2048, rel=0.01)

    def test_very_wide_rows_still_fit_into_256_megabytes(self):
        assert chunk_of(100, "float16") > chunk_of(100_000, "float16") > chunk_of(10**6, "float32") == 67
        assert chunk_of(10**9, "float32") == 1

    def test_rows_of_any_device_dtype_and_layout_are_copied_at_once(self, tmp_path):
        with writer(tmp_path / "s", dtype="bfloat16") as open_writer:
            x = rows(0, 25)[0].double().T.contiguous().T.requires_grad_()
            origins = [part.short() for part in rows(0, 25)[1:]]
            open_writer.add({MIDDLE.hook: x}, *origins)
            x.data.zero_()
            assert_holds(open_writer.close())

    @pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
    def test_a_chunk_is_a_safetensors_file(self, tmp_path, dtype):
        x = torch.randn(300, 301, dtype=torch.float64).to(dtype)
        tensors = {"x.0": x[:200], "x.1": x[0:0], "a": torch.arange(7).int(), "b": torch.arange(3)}
        digest = write_tensors(tmp_path / "ours", tensors)
        found = load_file(tmp_path / "ours")
        assert found.keys() == tensors.keys()
        assert all(
            found[name].dtype == tensors[name].dtype and torch.equal(found[name], tensors[name]) for name in found
        )
        assert digest == files.sha256(tmp_path / "ours")

    def test_every_site_is_kept_beside_the_others_with_its_statistics(self, tmp_path):
        store = write(tmp_path / "s", 15, sites=SEVERAL, dtype="float16")
        parts = load_file(store.path / store.chunks[1].file)
        assert set(parts) == {"token_ids", "documents", "positions"} | {
            f"{part}.{site}" for part in ("x", "sum", "norms", "bins", "counts") for site in range(3)
        }
        assert [parts[f"x.{site}"].shape for site in range(3)] == [(5, 5), (5, 2), (5, 3)]
        assert torch.allclose(parts["sum.2"], rows(10, 15, LATER)[0].double().sum(0))


class TestGoingOn:
    @settings(max_examples=10, deadline=None)
    @given(
        first=st.integers(0, 40),
        then=st.integers(0, 40),
        step=st.integers(1, 13),
        chunk_rows=st.integers(1, 12),
        complete=st.booleans(),
    )
    def test_a_stopped_store_ends_as_if_it_had_not_been(
        self, tmp_path_factory, first, then, step, chunk_rows, complete
    ):
        """Stopped after any batch; the batches after it are the same, as those of a collection are."""
        folder, total = tmp_path_factory.mktemp("go"), first + then
        options = {"sites": SEVERAL, "chunk_rows": chunk_rows}
        write(folder / "whole", total, step=step, **options)
        with writer(folder / "s", **options) as stopped:
            for start in range(0, first, step):
                stopped.mark({"row": start, "again": start // 2})
                stopped.add(*batch(start, min(start + step, total), SEVERAL))
            stopped.notes.append("stopped")
            stopped.close(complete=complete)
        store = Store(folder / "s")
        assert (store.complete, store.notes) == (complete, ["stopped"])
        assert_holds(store)
        write(folder / "s", total, step=step, resume=True, **options)
        assert contents(folder / "s") == contents(folder / "whole")

    def test_a_complete_store_grows_also_within_a_batch(self, tmp_path):
        write(tmp_path / "whole", 47)
        for total in (10, 24, 24, 33, 47):
            store = write(tmp_path / "s", total, resume=True, chunk_rows=None if total > 10 else 10)
            assert (store.rows, store.complete) == (total, True)
            assert_holds(store)
        assert contents(tmp_path / "s") == contents(tmp_path / "whole")

    def test_cursor_and_skip_say_where_to_go_on(self, tmp_path):
        with writer(tmp_path / "s") as first:
            assert (first.resumed, first.cursor, first.skip, first.rows) == (False, {}, 0, 0)
            first.mark({"document": 0, "offset": 0})
            first.add(*batch(0, 7))
            first.mark({"document": 5, "offset": 3})
            first.add(*batch(7, 14))
        assert [(dict(chunk.cursor), chunk.skip) for chunk in Store(tmp_path / "s").chunks] == [
            ({"document": 5, "offset": 3}, 3),
            ({"document": 5, "offset": 3}, 7),
        ]
        with writer(tmp_path / "s", resume=True) as again:
            assert (again.resumed, again.rows, again.skip) == (True, 14, 7)
            assert again.cursor == {"document": 5, "offset": 3}
            again.mark(again.cursor)
            again.add(*batch(7, 14))
            assert (again.rows, again.skip) == (14, 0)
            again.mark({"document": 9, "offset": 1})
            again.add(*batch(14, 21))
            assert again.rows == 21

    def test_without_marks_the_same_rows_are_given_from_the_start(self, tmp_path):
        for total in (23, 31):
            with writer(tmp_path / "s", resume=True) as open_writer:
                for start in range(0, total, 4):
                    open_writer.add(*batch(start, min(start + 4, total)))
                store = open_writer.close()
            assert store.rows == total
            assert_holds(store)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"dtype": "float16"}, "dtype 'float16' where there was 'float32'"),
            (
                {"about": ABOUT | {"corpus": {"name": "other", "why": "test"}}},
                "corpus.name 'other' where there was 'none'",
            ),
            (
                {"about": {key: value for key, value in ABOUT.items() if key != "unit"}},
                "unit None where there was 'token'",
            ),
            ({"chunk_rows": 11}, "chunk_rows 11 where there was 10"),
            ({"sites": [INNER]}, "sites"),
            ({"part": (0, 2)}, "by no ranks, not by 2 ranks"),
        ],
    )
    def test_another_collection_is_refused_and_nothing_changes(self, tmp_path, changes, message):
        write(tmp_path / "s", 12)
        before = contents(tmp_path / "s")
        with pytest.raises(StoreError, match=message):
            writer(tmp_path / "s", resume=True, **changes)
        assert contents(tmp_path / "s") == before

    def test_a_damaged_last_chunk_is_collected_again(self, tmp_path):
        whole = contents(write(tmp_path / "s", 25).path)
        for damage in (lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:50], lambda data: b""):
            path = tmp_path / "s/chunks/chunk_000002.safetensors"
            path.write_bytes(damage(path.read_bytes()))
            write(tmp_path / "s", 25, resume=True)
            assert contents(tmp_path / "s") == whole

    def test_a_damaged_chunk_before_it_is_told(self, tmp_path):
        write(tmp_path / "s", 25)
        path = tmp_path / "s/chunks/chunk_000001.safetensors"
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(StoreError, match=r"chunk_000001.safetensors is damaged or missing. Store.trim keeps"):
            write(tmp_path / "s", 25, resume=True)
        whole = write(tmp_path / "whole", 25).path
        Store(tmp_path / "s").trim(10)
        write(tmp_path / "s", 25, resume=True)
        assert contents(tmp_path / "s") == contents(whole)

    def test_the_cost_of_a_chunk_does_not_grow_with_their_number(self, tmp_path, monkeypatch):
        written = []
        real = places.Folder.write
        monkeypatch.setattr(
            places.Folder, "write", lambda self, name, data: written.append(name) or real(self, name, data)
        )
        store = write(tmp_path / "s", 60, chunk_rows=2)
        assert len(store.chunks) == 30
        assert written == ["manifest.json"] * 2


class TestOneWriter:
    def test_a_second_writer_is_refused_until_the_first_has_ended(self, tmp_path):
        with writer(tmp_path / "s") as first:
            first.add(*batch(0, 12))
            for resume in (True, False):
                with pytest.raises(OutputError, match=r"being written by another|already holds"):
                    writer(tmp_path / "s", resume=resume)
            with pytest.raises(OutputError, match="being written by another"):
                Store(tmp_path / "s").trim(5)
            first.close()
        write(tmp_path / "s", 15, resume=True)

    def test_a_writer_that_is_refused_lets_go(self, tmp_path):
        write(tmp_path / "s", 12)
        with pytest.raises(StoreError):
            writer(tmp_path / "s", resume=True, dtype="float16")
        writer(tmp_path / "s", resume=True).close()
        assert not (tmp_path / "s/.lock").exists()

    @pytest.mark.parametrize("resume", [True, False])
    def test_a_taken_folder_is_refused_and_left_alone(self, tmp_path, resume):
        write(tmp_path / "s", 5)
        (tmp_path / "other/mine").mkdir(parents=True)
        (tmp_path / "file").write_text("")
        if not resume:
            with pytest.raises(OutputError, match="already holds an earlier result"):
                writer(tmp_path / "s")
        with pytest.raises(OutputError, match="already holds other files"):
            writer(tmp_path / "other", resume=resume)
        with pytest.raises(OutputError, match="is a file"):
            writer(tmp_path / "file", resume=resume)
        assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine"]
        assert not list((tmp_path / "s").glob(".*"))


class TestPower:
    def test_what_gets_its_name_is_on_the_disk_before(self, tmp_path, monkeypatch):
        """File, then name; and a chunk's line of the journal before its name, so that no chunk is without one."""
        happened = []

        def flushed(handle: int) -> None:
            happened.append(("flushed", os.fstat(handle).st_ino))

        def renamed(source: Path, target: Path) -> None:
            happened.append(("renamed", source.stat().st_ino, target.name))
            source.rename(target)

        monkeypatch.setattr(os, "fsync", flushed)
        monkeypatch.setattr(os, "replace", renamed)
        with writer(tmp_path / "s") as open_writer:
            open_writer.add(*batch(0, 20))
            open_writer.add(*batch(20, 21))
            journal = (tmp_path / "s/chunks.jsonl").stat().st_ino
            open_writer.close()
        names = [event[2] for event in happened if event[0] == "renamed"]
        assert names == ["manifest.json", *(f"chunk_00000{n}.safetensors" for n in range(3)), "manifest.json"]
        for place, event in enumerate(happened):
            if event[0] == "renamed":
                assert ("flushed", event[1]) in happened[:place]
                assert happened[place + 1] == ("flushed", (tmp_path / "s").joinpath(_folder(event[2])).stat().st_ino)
            if event[0] == "renamed" and event[2].startswith("chunk"):
                assert happened[:place].count(("flushed", journal)) == int(event[2][6:12]) + 1


def _folder(name: str) -> str:
    return "chunks" if name.startswith("chunk") else "."


class TestTrouble:
    def test_an_error_keeps_what_was_added(self, tmp_path):
        def interrupted() -> None:
            with writer(tmp_path / "s") as open_writer:
                open_writer.add(*batch(0, 13))
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        store = Store(tmp_path / "s")
        assert (store.rows, store.complete) == (13, False)
        assert_holds(store)

    def test_leaving_without_closing_keeps_what_was_added(self, tmp_path):
        with writer(tmp_path / "s") as open_writer:
            open_writer.add(*batch(0, 13))
        assert (Store(tmp_path / "s").rows, Store(tmp_path / "s").complete) == (13, False)
        with pytest.raises(StoreError, match="was closed"):
            open_writer.add(*batch(13, 14))

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_a_disk_that_fills_in_the_middle_of_a_chunk(self, tmp_path, monkeypatch, after):
        """Half a chunk is written, or all of it but its line of the journal, or half of that line too."""
        real, append = ledger.write_tensors, places.files.append

        def full(path, tensors):
            digest = real(path, tensors)
            if "chunk_000002" in str(path) and after == 0:
                path.write_bytes(path.read_bytes()[:100])
                raise OSError(28, "No space left on device")
            return digest

        def full_journal(path, line):
            if b"chunk_000002" in line and after > 0:
                if after == 2:
                    append(path, line[:40])
                raise NoSpace(f"No space left while writing {path}.")
            append(path, line)

        whole = write(tmp_path / "whole", 50)
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "write_tensors", full)
            patch.setattr(places.files, "append", full_journal)
            with pytest.raises(NoSpace, match=r"No space left.* The 20 rows before are kept, and a resumed collection"):
                write(tmp_path / "s", 50)
        store = Store(tmp_path / "s")
        assert (store.rows, store.complete) == (20, False)
        assert_holds(store)
        write(tmp_path / "s", 50, resume=True)
        assert contents(tmp_path / "s") == contents(whole.path)

    def test_a_disk_that_stays_full_leaves_a_store_too(self, tmp_path, monkeypatch):
        """Not even the manifest can be written then: the journal has all that is needed."""
        real, filled = places.Folder.writing, []

        def full(self, name):
            if filled or "chunk_000003" in name:
                filled.append(name)
                raise NoSpace(f"No space left while writing {name}.")
            return real(self, name)

        whole = write(tmp_path / "whole", 50)
        with monkeypatch.context() as patch:
            patch.setattr(places.Folder, "writing", full)
            with pytest.raises(NoSpace, match="chunk_000003"):
                write(tmp_path / "s", 50)
        assert filled[-1] == "manifest.json"
        store = Store(tmp_path / "s")
        assert (store.rows, store.complete) == (30, False)
        assert_holds(store)
        write(tmp_path / "s", 50, resume=True)
        assert contents(tmp_path / "s") == contents(whole.path)

    def test_room_is_looked_for_before_and_while_writing(self, tmp_path, monkeypatch):
        with pytest.raises(NoSpace, match=r"Keeping 1,000,000,000,000,000 rows of 5 float32 values needs about"):
            writer(tmp_path / "s", total=10**15)
        assert not (tmp_path / "s").exists()

        free = iter([10**9, 10**9, 100])
        monkeypatch.setattr(places.Folder, "free", lambda self: next(free))

        def shrinking() -> None:
            with writer(tmp_path / "s", total=50) as open_writer:
                for start in range(0, 50, 5):
                    open_writer.add(*batch(start, start + 5))

        with pytest.raises(NoSpace, match=r"chunk_000002.*needs 320 B and 100 B are free. The 20 rows before are kept"):
            shrinking()
        assert Store(tmp_path / "s").rows == 20

    def test_what_stopped_the_thread_is_told_until_the_writer_is_closed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(places.Folder, "free", lambda self: 0)
        open_writer = writer(tmp_path / "s")
        open_writer.add(*batch(0, 10))
        with pytest.raises(NoSpace):
            open_writer.add(*batch(10, 30))
        for again in (lambda: open_writer.add(*batch(30, 31)), open_writer.close):
            with pytest.raises(NoSpace):
                again()
        assert open_writer.close(complete=False).rows == 0

    def test_discard_leaves_nothing_of_ours_and_everything_else(self, tmp_path):
        open_writer = writer(tmp_path / "s")
        open_writer.add(*batch(0, 25))
        (tmp_path / "s" / "mine.txt").write_text("keep")
        open_writer.discard()
        assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]
        with writer(tmp_path / "t") as open_writer:
            open_writer.add(*batch(0, 25))
            open_writer.discard()
        assert not (tmp_path / "t").exists()

    def test_discard_keeps_what_was_there_before(self, tmp_path):
        write(tmp_path / "s", 25)
        open_writer = writer(tmp_path / "s", resume=True)
        open_writer.mark({"row": 21})
        open_writer.add(*batch(21, 42))
        open_writer.discard()
        store = Store(tmp_path / "s")
        assert store.rows >= 25
        assert_holds(store)

    @pytest.mark.parametrize(
        ("x", "origins", "message"),
        [
            ({}, (3, 3, 3), "keeps the sites blocks.3.hook_resid_post; got none"),
            ({MIDDLE.hook: torch.ones(3, 5), "h": torch.ones(3, 5)}, (3, 3, 3), "got blocks.3.hook_resid_post, h"),
            ({MIDDLE.hook: torch.ones(3, 4)}, (3, 3, 3), r"needs rows \[3, 5\]; got \[3, 4\]"),
            ({MIDDLE.hook: torch.ones(3, 5)}, (3, 2, 3), r"documents needs 3 numbers, one a row; got \[2\]"),
        ],
    )
    def test_rows_that_do_not_fit_the_store_are_refused(self, tmp_path, x, origins, message):
        with writer(tmp_path / "s") as open_writer, pytest.raises(StoreError, match=message):
            open_writer.add(x, *(torch.zeros(n, dtype=torch.int64) for n in origins))
        assert Store(tmp_path / "s").rows == 0

    def test_numbers_beyond_32_bits_are_refused(self, tmp_path):
        x, ids, documents, positions = batch(0, 3)
        with writer(tmp_path / "s") as open_writer, pytest.raises(StoreError, match="documents holds a number"):
            open_writer.add(x, ids, documents + 2**31, positions)

    def test_a_rank_that_there_is_not_is_refused(self, tmp_path):
        with pytest.raises(StoreError, match="is not one of 2 ranks"):
            writer(tmp_path / "s", part=(2, 2))

    def test_values_that_do_not_fit_are_refused(self, tmp_path):
        def add(dtype: str, value: float) -> None:
            with writer(tmp_path / f"{dtype}{value}", dtype=dtype) as open_writer:
                _, *origins = batch(0, 1)
                open_writer.add({MIDDLE.hook: torch.full((1, 5), value)}, *origins)

        with pytest.raises(StoreError, match=r"70,000 does not fit float16.*dtype='bfloat16'"):
            add("float16", 70_000.0)
        with pytest.raises(StoreError, match=r"70,000 does not fit float16"):
            add("float16", -70_000.0)
        add("bfloat16", 70_000.0)
        for value in (float("nan"), float("inf"), float("-inf")):
            with pytest.raises(StoreError, match="not finite"):
                add("float32", value)

"""The store: what was written comes back, a kill at any instant leaves a sound store, damage is named."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aquin_nb import files
from aquin_nb.engine.activations.statistics import NormStatistics
from aquin_nb.engine.activations.store import Store, StoreWriter
from aquin_nb.errors import NoSpace, OutputError, StoreError

ABOUT = {
    "model": {"name": "none", "fingerprint": "f"},
    "layer": 3,
    "hook": "blocks.3.hook_resid_post",
    "unit": "token",
    "context_size": 8,
    "corpus": {"name": "none", "why": "test"},
    "exclusions": "none",
}
D = 5


def rows(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows that say their own number in every column, so that any mix-up shows."""
    number = torch.arange(start, stop)
    return number[:, None] % 512 + torch.arange(D) / 4, number * 3, number // 7, number % 7


def write(folder: Path, total: int, *, chunk_rows: int = 10, step: int = 7, dtype: str = "float32") -> Store:
    with StoreWriter(folder, d_in=D, dtype=dtype, about=ABOUT, chunk_rows=chunk_rows) as writer:
        for start in range(0, total, step):
            writer.add(*rows(start, min(start + step, total)))
        return writer.close()


def assert_prefix(store: Store, dtype: torch.dtype = torch.float32) -> None:
    """The store is sound and holds rows 0 to `store.rows` of `rows`, whatever it was doing when it was stopped."""
    assert store.verify() == store.rows
    start = 0
    for index, chunk in enumerate(store.chunks):
        x, ids, documents, positions = store.read(index)
        wanted = rows(start, start + chunk.rows)
        assert torch.equal(x, wanted[0].to(dtype))
        for found, expected in zip((ids, documents, positions), wanted[1:], strict=True):
            assert found.dtype == torch.int32
            assert torch.equal(found, expected.int())
        assert torch.equal(store.x(index), x)
        start += chunk.rows
    assert start == store.rows
    assert store.statistics["rows"] == store.rows


@settings(max_examples=15, deadline=None)
@given(
    total=st.integers(1, 60),
    chunk_rows=st.integers(1, 25),
    step=st.integers(1, 30),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
)
def test_rows_come_back_in_order_whatever_the_chunking(tmp_path_factory, total, chunk_rows, step, dtype):
    folder = tmp_path_factory.mktemp("store") / "s"
    store = write(folder, total, chunk_rows=chunk_rows, step=step, dtype=dtype)
    assert store.complete
    assert store.rows == total
    assert (store.d_in, store.layer, store.hook) == (D, 3, "blocks.3.hook_resid_post")
    assert_prefix(store, getattr(torch, dtype))
    assert all(chunk.rows == chunk_rows for chunk in store.chunks[:-1])


def test_the_same_rows_give_the_same_bytes(tmp_path):
    write(tmp_path / "a", 50, step=3)
    write(tmp_path / "b", 50, step=50)
    for chunk in Store(tmp_path / "a").chunks:
        assert (tmp_path / "a" / chunk.file).read_bytes() == (tmp_path / "b" / chunk.file).read_bytes()


def test_a_kill_at_any_instant_leaves_a_sound_store(tmp_path, monkeypatch):
    """Take a picture of the folder around every rename, and with the file being written cut at several bytes."""
    folder, pictures = tmp_path / "s", tmp_path / "pictures"
    real, taken = files.os.replace, []

    def picture(cut: float | None = None) -> None:
        target = pictures / str(len(taken))
        shutil.copytree(folder, target)
        if cut is not None:
            for part in target.rglob("*.part"):
                part.write_bytes(part.read_bytes()[: int(part.stat().st_size * cut)])
        taken.append(target)

    def replace(source, target):
        for cut in (0.0, 0.3, 0.99, None):
            picture(cut)
        real(source, target)
        picture()

    monkeypatch.setattr(files.os, "replace", replace)
    write(folder, 35)
    seen = set()
    for target in taken:
        if not (target / "manifest.json").exists():
            continue  # killed before the first manifest: nothing had been collected
        store = Store(target)
        assert_prefix(store)
        seen.add((store.rows, store.complete))
    assert seen == {(0, False), (10, False), (20, False), (30, False), (35, False), (35, True)}


KILLED = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from test_store import write
write(Path({folder!r}), 2_000_000, chunk_rows=50, step=20)
"""


def test_sigkill_while_writing(tmp_path):
    folder, here = tmp_path / "s", Path(__file__).parent
    code = KILLED.format(root=str(here.parents[2]), here=str(here), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while not (folder / "chunks/chunk_000005.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    store = Store(folder)
    assert not store.complete
    assert store.rows >= 250
    assert_prefix(store)


def test_an_error_keeps_what_was_added(tmp_path):
    writer = StoreWriter(tmp_path / "s", d_in=D, dtype="float32", about=ABOUT, chunk_rows=10)

    def interrupted() -> None:
        with writer:
            writer.add(*rows(0, 13))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    store = Store(tmp_path / "s")
    assert (store.rows, store.complete) == (13, False)
    assert_prefix(store)


def test_a_full_disk_tells_so_and_keeps_the_chunks_before(tmp_path, monkeypatch):
    from aquin_nb.engine.activations import store as module

    saved = module.save_file

    def full(tensors, path):
        if "chunk_000002" in str(path):
            raise OSError(28, "No space left on device")
        saved(tensors, path)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(NoSpace, match="chunk_000002"):
        write(tmp_path / "s", 50)
    store = Store(tmp_path / "s")
    assert (store.rows, store.complete) == (20, False)
    assert_prefix(store)


def test_discard_leaves_nothing_of_ours_and_everything_else(tmp_path):
    writer = StoreWriter(tmp_path / "s", d_in=D, dtype="float32", about=ABOUT, chunk_rows=10)
    writer.add(*rows(0, 25))
    (tmp_path / "s" / "mine.txt").write_text("keep")
    writer.discard()
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_a_taken_folder_is_refused(tmp_path):
    write(tmp_path / "s", 5)
    with pytest.raises(OutputError, match="already holds an earlier result"):
        write(tmp_path / "s", 5)


@settings(max_examples=25, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_chunk_cut_anywhere_is_named_and_the_others_read(tmp_path_factory, cut):
    store = write(tmp_path_factory.mktemp("cut") / "s", 30)
    path = store.path / "chunks/chunk_000001.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    for reads in (lambda: store.read(1), lambda: store.x(1), store.verify):
        with pytest.raises(StoreError, match="chunk_000001"):
            reads()
    assert len(store.read(0).x) == len(store.read(2).x) == 10


@settings(max_examples=25, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found(tmp_path_factory, place, bit):
    store = write(tmp_path_factory.mktemp("flip") / "s", 30)
    path = store.path / "chunks/chunk_000002.safetensors"
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"chunk_000002.*2 other chunks are sound"):
        store.verify()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=2), "newer aquin-nb"),
        (lambda m: m.update(schema_version="x"), "schema_version"),
        (lambda m: m.update(kind="saeTrain"), "does not describe"),
        (lambda m: m.update(kind="activationCapture"), "'activationCapture' where an activation store"),
        (lambda m: m.pop("d_in"), "d_in"),
        (lambda m: m.update(dtype="int8"), "dtype"),
        (lambda m: m["chunks"][0].update(file="../../secret.safetensors"), "secret"),
        (lambda m: m["chunks"][0].update(file="chunks/chunk_000009.safetensors"), "chunk_000009.*missing"),
        (lambda m: m["chunks"][0].update(rows=0), "0 rows"),
        (lambda m: m["chunks"].append(3), "a chunk is 3"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(tmp_path, change, message):
    write(tmp_path / "s", 12)
    path = tmp_path / "s/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=message):
        Store(tmp_path / "s")


def test_a_chunk_unlike_its_manifest_is_named(tmp_path):
    store = write(tmp_path / "s", 30)
    shutil.copy(store.path / "chunks/chunk_000000.safetensors", tmp_path / "keep")
    other = write(tmp_path / "other", 9, chunk_rows=9)
    shutil.copy(other.path / "chunks/chunk_000000.safetensors", store.path / "chunks/chunk_000000.safetensors")
    for reads in (lambda: store.read(0), lambda: store.x(0)):
        with pytest.raises(StoreError, match=r"chunk_000000.*10 rows of 5 in float32"):
            reads()


def test_places_that_are_no_store_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half/manifest.json").write_text('{"kind": "activ')
    for name, message in (("nowhere", "not there"), ("empty", "no manifest.json"), ("half", "damaged")):
        with pytest.raises(StoreError, match=message):
            Store(tmp_path / name)


def test_values_that_do_not_fit_are_refused(tmp_path):
    def add(dtype: str, value: float) -> None:
        with StoreWriter(tmp_path / f"{dtype}{value}", d_in=1, dtype=dtype, about=ABOUT) as writer:
            writer.add(torch.tensor([[value]]), *torch.zeros(3, 1, dtype=torch.int64))

    with pytest.raises(StoreError, match=r"70,000 does not fit float16.*dtype='bfloat16'"):
        add("float16", 70_000.0)
    add("bfloat16", 70_000.0)
    for value in (float("nan"), float("inf"), float("-inf")):
        with pytest.raises(StoreError, match="not finite"):
            add("float32", value)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 300), scale=st.floats(-6, 6), giants=st.integers(0, 3))
def test_norm_statistics_equal_numpy(seed, count, scale, giants):
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4)).astype(np.float32) * np.float32(10.0**scale)
    x[:giants] *= 1000
    statistics = NormStatistics(4)
    for part in np.array_split(x, 3):
        statistics.add(torch.from_numpy(part))
    found, norms = statistics.summary(), np.linalg.norm(x.astype(np.float64), axis=1)
    assert found["rows"] == count
    assert found["mean_norm"] == pytest.approx(norms.mean(), rel=1e-6)
    assert found["max_norm"] == pytest.approx(norms.max(), rel=1e-6)
    assert found["mean_squared_norm"] == pytest.approx((norms**2).mean(), rel=1e-6)
    assert found["norm_of_mean"] == pytest.approx(np.linalg.norm(x.astype(np.float64).mean(0)), rel=1e-5)
    assert found["median_norm"] == pytest.approx(np.sort(norms)[(count - 1) // 2], rel=0.011)
    border = 10 * found["median_norm"]
    assert (norms > border * 1.012).sum() <= found["outliers"] <= (norms > border * 0.988).sum()


def test_the_largest_numbers_have_finite_statistics():
    statistics = NormStatistics(3)
    statistics.add(torch.full((2, 3), torch.finfo(torch.bfloat16).max, dtype=torch.bfloat16))
    json.dumps(statistics.summary(), allow_nan=False)
    assert statistics.summary()["outliers"] == 0

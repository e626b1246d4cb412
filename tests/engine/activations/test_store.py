"""The store: what was written comes back, of every site; damage is named and the rest is readable."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from stores import ABOUT, INNER, LATER, MIDDLE, SEVERAL, assert_holds, contents, rows, write

from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.errors import StoreError


@settings(max_examples=10, deadline=None)
@given(
    total=st.integers(1, 60),
    chunk_rows=st.integers(1, 25),
    step=st.integers(1, 30),
    dtype=st.sampled_from(["float16", "bfloat16", "float32"]),
    sites=st.sampled_from([SEVERAL, SEVERAL[1:], SEVERAL[:1]]),
)
def test_rows_come_back_in_order_whatever_the_chunking(tmp_path_factory, total, chunk_rows, step, dtype, sites):
    folder = tmp_path_factory.mktemp("store") / "s"
    store = write(folder, total, chunk_rows=chunk_rows, step=step, dtype=dtype, sites=sites)
    assert (store.complete, store.rows, store.dtype) == (True, total, getattr(torch, dtype))
    assert store.sites == tuple(sites)
    assert_holds(store)
    assert all(chunk.rows == chunk_rows for chunk in store.chunks[:-1])
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "chunks"}


def test_a_site_is_chosen_by_hook_or_layer(tmp_path):
    store = write(tmp_path / "s", 12, sites=SEVERAL)
    for wanted, site in ((MIDDLE.hook, MIDDLE), (LATER.hook, LATER), (INNER, INNER), (3, MIDDLE)):
        chosen = store.at(wanted)
        assert (chosen.hook, chosen.layer, chosen.d_in) == (site.hook, site.layer, site.d_in)
        assert torch.equal(chosen.x(0), rows(0, 10, site)[0])
        assert Store(tmp_path / "s", wanted).site == site
    for wanted, message in (
        ("blocks.3.hook_mlp", r"no site 'blocks.3.hook_mlp'. Did you mean blocks.3.hook_mlp_out"),
        (4, "no site of layer 4; choose one of blocks.3"),
    ):
        with pytest.raises(StoreError, match=message):
            store.at(wanted)
    inner = write(tmp_path / "inner", 3, sites=[INNER, SiteInfo("blocks.3.ln1.hook_normalized", 3, 2)])
    with pytest.raises(
        StoreError, match=r"several sites of layer 3; choose one of blocks.3.hook_mlp_out, blocks.3.ln1"
    ):
        inner.at(3)
    assert write(tmp_path / "one", 3, sites=[INNER]).at(3).hook == INNER.hook


def test_with_several_sites_and_none_chosen_they_are_listed(tmp_path):
    store = write(tmp_path / "s", 12, sites=SEVERAL)
    for ask in (
        lambda: store.d_in,
        lambda: store.layer,
        lambda: store.hook,
        lambda: store.statistics,
        lambda: store.mean(),
        lambda: store.x(0),
        lambda: store.read(0),
    ):
        with pytest.raises(StoreError, match=r"3 sites: blocks.3.hook_resid_post, .*hook_mlp_out, model.*store.at"):
            ask()
    assert repr(store) == f"Store({str(store.path)!r}, 12 rows of 3 sites)"
    assert repr(store.at(LATER)) == f"Store({str(store.path)!r}, 12 rows of 3, model.layers.7.mlp)"
    assert repr(store.at(MIDDLE)) == f"Store({str(store.path)!r}, 12 rows of 5, layer 3)"
    assert store.origins(1).token_ids.tolist() == [30, 33]


def test_statistics_and_mean_are_of_the_site(tmp_path):
    store = write(tmp_path / "s", 40, sites=SEVERAL)
    for site in SEVERAL:
        x = rows(0, 40, site)[0]
        assert torch.allclose(store.at(site).mean(), x.mean(0))
        assert store.at(site).statistics["mean_norm"] == pytest.approx(float(x.norm(dim=1).mean()))


def test_stat_says_what_there_is(tmp_path):
    store = write(tmp_path / "s", 40, sites=SEVERAL, dtype="bfloat16")
    stat = store.stat()
    sites = stat.pop("sites")
    assert [(site["hook"], site["layer"], site["d_in"]) for site in sites] == [
        (site.hook, site.layer, site.d_in) for site in SEVERAL
    ]
    assert sites[1]["statistics"] == store.at(INNER).statistics
    assert stat == {
        "rows": 40,
        "bytes": sum(path.stat().st_size for path in (tmp_path / "s/chunks").iterdir()),
        "chunks": 4,
        "dtype": "bfloat16",
        "unit": "token",
        "complete": True,
        "documents": 6,
    }
    json.dumps(stat)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    write(tmp_path / "a", 50, step=3, sites=SEVERAL)
    write(tmp_path / "b", 50, step=50, sites=SEVERAL)
    chunks = [{name: data for name, data in contents(tmp_path / n).items() if "chunk_" in name} for n in "ab"]
    assert chunks[0] == chunks[1]


def first_version(folder: Path, total: int = 25, complete: bool = True) -> dict[str, Any]:
    """A store as the first version of aquin-nb wrote it; its manifest."""
    (folder / "chunks").mkdir(parents=True)
    chunks = []
    for start in range(0, total, 10):
        path = folder / f"chunks/chunk_{len(chunks):06d}.safetensors"
        x, *origins = rows(start, min(start + 10, total))
        names = ("token_ids", "documents", "positions")
        save_file({"x": x} | {name: part.int() for name, part in zip(names, origins, strict=True)}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        chunks.append({"file": f"chunks/{path.name}", "rows": len(x), "sha256": digest})
    manifest = {
        "schema_version": 1,
        "kind": "activations",
        "created_at": "2026-01-01T00:00:00+00:00",
        **ABOUT,
        "layer": 3,
        "hook": "blocks.3.hook_resid_post",
        "d_in": 5,
        "dtype": "float32",
        "complete": complete,
        "statistics": {"rows": total, "mean_norm": 1.5},
        "notes": ["a note"],
        "chunks": chunks,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_stores_of_the_first_version_are_readable(tmp_path):
    first_version(tmp_path / "old")
    store = Store(tmp_path / "old")
    assert (store.rows, store.complete, store.notes) == (25, True, ["a note"])
    assert store.sites == (MIDDLE,)
    assert store.statistics == {"rows": 25, "mean_norm": 1.5}
    assert_holds(store.at(3))
    assert torch.allclose(store.mean(), rows(0, 25)[0].mean(0))
    assert store.stat()["documents"] == 4
    first_version(tmp_path / "half", complete=False)
    assert not Store(tmp_path / "half").complete


def test_stores_of_the_first_version_are_not_changed(tmp_path):
    first_version(tmp_path / "old")
    before = contents(tmp_path / "old")
    with pytest.raises(StoreError, match="older aquin-nb"):
        write(tmp_path / "old", 50, resume=True)
    with pytest.raises(StoreError, match="schema version 1"):
        Store(tmp_path / "old").trim(5)
    assert contents(tmp_path / "old") == before


@settings(max_examples=10, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_chunk_cut_anywhere_is_named_and_the_others_read(tmp_path_factory, cut):
    store = write(tmp_path_factory.mktemp("cut") / "s", 30)
    path = store.path / "chunks/chunk_000001.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    for reads in (lambda: store.read(1), lambda: store.x(1), lambda: store.origins(1), store.verify):
        with pytest.raises(StoreError, match="chunk_000001"):
            reads()
    assert len(store.read(0).x) == len(store.read(2).x) == 10


@settings(max_examples=12, deadline=None)
@given(place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found_and_the_rest_is_readable(tmp_path_factory, place, bit):
    store = write(tmp_path_factory.mktemp("flip") / "s", 30, sites=SEVERAL)
    path = store.path / "chunks/chunk_000002.safetensors"
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    store = Store(store.path)
    with pytest.raises(StoreError, match=r"missing: chunks/chunk_000002.safetensors; 2 other chunks are sound"):
        store.verify()
    assert torch.equal(store.at(LATER).x(1), rows(10, 20, LATER)[0])


def outcome(read: Callable[[], object]) -> str:
    """What a StoreError says; empty where there is none."""
    try:
        read()
    except StoreError as error:
        return str(error)
    return ""


def test_damage_anywhere_in_a_chunk_is_a_store_error_that_names_it(tmp_path):
    whole, folder = write(tmp_path / "whole", 10), tmp_path / "s"
    line = json.dumps(whole.chunks[0].record() | {"rows": 9}) + "\n"
    size = whole.chunks[0].bytes
    messages = set()
    for place in range(0, size, size // 25):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole.path, folder)
        path = folder / "chunks/chunk_000000.safetensors"
        data = bytearray(path.read_bytes())
        data[place] ^= 0x41
        store = Store(folder)
        path.write_bytes(data)
        for read in (lambda: store.read(0), store.mean, store.stat, lambda: store.trim(4)):  # noqa: B023
            messages.add(outcome(read))
        (folder / "chunks.jsonl").write_text(line)
        messages.add(outcome(lambda: Store(folder)))
    assert "" in messages  # damage of values alone is found by verify
    assert len(messages) > 5
    assert all("chunk_000000" in message for message in messages - {""})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=3), "newer aquin-nb .schema 3, this one reads up to 2.; upgrade"),
        (lambda m: m.update(schema_version="x"), "schema_version"),
        (lambda m: m.update(kind="saeTrain"), "does not describe"),
        (
            lambda m: m.update(kind="activationCapture", schema_version=1),
            "'activationCapture' where an activation store",
        ),
        (lambda m: m.pop("sites"), "sites"),
        (lambda m: m.update(sites=[]), "sites"),
        (lambda m: m["sites"][0].pop("d_in"), "d_in"),
        (lambda m: m["sites"].append(m["sites"][0]), "sites"),
        (lambda m: m["sites"].append(7), "a site is 7"),
        (lambda m: m.pop("model"), "model"),
        (lambda m: m.update(corpus=[]), "corpus"),
        (lambda m: m.pop("statistics"), "statistics"),
        (lambda m: m["statistics"].update({MIDDLE.hook: 3}), "hook_resid_post is 3"),
        (lambda m: m.pop("complete"), "complete"),
        (lambda m: m.update(dtype="int8"), "dtype"),
        (lambda m: m["chunks"][0].update(file="../../secret.safetensors"), "secret"),
        (lambda m: m["chunks"][0].update(file="chunks/../../chunk_000000.safetensors"), "no capture or store of ours"),
        (lambda m: m["chunks"][0].update(file="/etc/chunks/chunk_000000.safetensors"), "no capture or store of ours"),
        (lambda m: m["chunks"][0].update(file="chunks/chunk_000009.safetensors"), "chunk_000009.*missing"),
        (lambda m: m["chunks"][0].update(rows=0), "0 rows"),
        (lambda m: m["chunks"][0].update(rows=True), "rows is True"),
        (lambda m: m["chunks"][0].update(cursor={"row": "x"}), "cursor"),
        (lambda m: m["chunks"][0].pop("sha256"), "sha256"),
        (lambda m: m["chunks"].append(m["chunks"][0]), "twice"),
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


def test_a_journal_that_leads_out_of_the_folder_is_refused(tmp_path):
    store = write(tmp_path / "s", 12)
    line = store.chunks[0].record() | {"file": "chunks/../../chunk_000000.safetensors"}
    (tmp_path / "s/chunks.jsonl").write_text(json.dumps(line) + "\n")
    store = Store(tmp_path / "s")
    assert "chunks.jsonl is damaged in line 1" in store.notes[0]
    assert_holds(store)


def test_what_a_manifest_lacks_is_told_where_it_is_asked_for(tmp_path):
    store = write(tmp_path / "s", 12, about=ABOUT | {"corpus": {}, "model": {"name": "none"}})
    assert store.corpus.get("name") is None
    for ask in (lambda: store.corpus["name"], lambda: store.model["fingerprint"]):
        with pytest.raises(
            StoreError, match=r"manifest.json is damaged: (corpus|model) does not say '(name|fingerprint)'"
        ):
            ask()


def test_a_chunk_unlike_its_manifest_is_named(tmp_path):
    store = write(tmp_path / "s", 30)
    other = write(tmp_path / "other", 9, chunk_rows=9)
    shutil.copy(other.path / "chunks/chunk_000000.safetensors", store.path / "chunks/chunk_000000.safetensors")
    for reads in (lambda: store.read(0), lambda: store.x(0), lambda: store.origins(0)):
        with pytest.raises(StoreError, match=r"chunk_000000.*10 rows of 5 in float32"):
            reads()
    path = store.path / "chunks/chunk_000001.safetensors"
    save_file({name: part.double() for name, part in load_file(path).items()}, path)
    for reads in (lambda: store.read(1), lambda: store.x(1), lambda: store.origins(1)):
        with pytest.raises(StoreError, match=r"chunk_000001.*10 rows of 5 in float32"):
            reads()


def test_places_that_are_no_store_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half/manifest.json").write_text('{"kind": "activ')
    (tmp_path / "file").write_text("")
    for name, message in (
        ("nowhere", "not there"),
        ("empty", "no manifest.json"),
        ("half", "damaged"),
        ("file", "is a file"),
    ):
        with pytest.raises(StoreError, match=message):
            Store(tmp_path / name)


def test_a_store_can_be_read_while_it_is_written(tmp_path):
    with StoreWriter(tmp_path / "s", [MIDDLE], dtype="float32", about=ABOUT, chunk_rows=10) as writer:
        seen = set()
        for start in range(0, 60, 5):
            x, *origins = rows(start, start + 5)
            writer.add({MIDDLE.hook: x}, *origins)
            store = Store(tmp_path / "s")
            assert not store.complete
            assert_holds(store)
            seen.add(store.rows)
    assert len(seen) > 3

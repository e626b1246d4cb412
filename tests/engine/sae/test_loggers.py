"""Loggers: what is logged can be read back, a resumed run goes on where it was, and a failure costs no training."""

from __future__ import annotations

import json
import math
import os
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aquin_nb.engine.sae import loggers
from aquin_nb.engine.sae.loggers import Logger, open_loggers
from aquin_nb.errors import DictionaryError, OutputError

HISTOGRAM = [5, 0, 0, 3, *[0] * 35, 2]  # 40 bins, from a rate of 1e-6 to 1


def opened(name: str, folder: Path, config: dict[str, Any] | None = None) -> Logger:
    (logger,) = open_loggers([name], folder, "first")
    logger.start(config or {"k": 4})
    return logger


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "histograms": 0})
    return events.Reload()


def test_tensorboard_gives_back_what_was_logged(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    logger = opened("tensorboard", tmp_path, {"k": 4, "output": Path("somewhere")})
    logger.log(1, {"fvu": 0.5, "lr": 1e-3}, HISTOGRAM)
    logger.log(2, {"fvu": math.nan, "lr": 2e-3, "ce": None, "grad_norm": math.inf})
    logger.finish({"fvu": 0.25})
    assert logger.notes == []
    events = read(tmp_path)
    assert sorted(events.Tags()["scalars"]) == ["fvu", "lr"]
    assert [(e.step, e.value) for e in events.Scalars("fvu")] == [(1, 0.5)]
    assert [(e.step, pytest.approx(e.value)) for e in events.Scalars("lr")] == [(1, 1e-3), (2, 2e-3)]
    (density,) = events.Histograms("density")
    assert list(density.histogram_value.bucket) == HISTOGRAM
    assert density.histogram_value.bucket_limit[0] == pytest.approx(-5.85)
    assert (density.histogram_value.min, density.histogram_value.max, density.histogram_value.num) == (-6, 0, 10)
    texts = {tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0] for tag in ("config", "summary")}
    assert json.loads(texts["config"]) == {"k": 4, "output": "somewhere"}
    assert json.loads(texts["summary"]) == {"fvu": 0.25}


def test_tensorboard_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    """Killed at step 3 and resumed from step 2: one curve, each step once."""
    pytest.importorskip("tensorboard")
    first = opened("tensorboard", tmp_path)
    for step in (1, 2, 3):
        first.log(step, {"fvu": float(step)})
    first.finish({})
    second = opened("tensorboard", tmp_path)
    for step in (3, 4):
        second.log(step, {"fvu": 10.0 * step})
    second.finish({})
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("fvu")] == [(1, 1), (2, 2), (3, 30), (4, 40)]


def test_a_running_training_can_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is logged reaches the disk before `finish`, so a kill loses little of it."""
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(loggers, "FLUSH_SECONDS", 0)
    logger = opened("tensorboard", tmp_path)
    logger.log(1, {"fvu": 0.5})
    deadline = time.monotonic() + 30
    while "fvu" not in read(tmp_path).Tags()["scalars"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [e.value for e in read(tmp_path).Scalars("fvu")] == [0.5]
    logger.finish({})


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_DIR", "WANDB_PROJECT", "WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)


def records(folder: Path) -> list[Any]:
    """What an offline W&B run wrote, of all its parts in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    # W&B's own process closes the file, on a busy machine a while after `finish` has returned.
    deadline = time.monotonic() + 10
    while True:
        paths = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
        found = [[Record.FromString(piece) for piece in pieces(path.read_bytes())] for path in paths]
        closed = found and all(any(r.WhichOneof("record_type") == "exit" for r in part) for part in found)
        if closed or time.monotonic() > deadline:
            return [record for part in found for record in part]
        time.sleep(0.1)


def pieces(data: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, W&B's own format: 32 KiB blocks of (crc32, length, kind, bytes)."""
    at, whole = 7, b""  # behind the file's header
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part of one
            yield whole
            whole = b""


def logged(folder: Path) -> list[dict[str, Any]]:
    points = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(folder)
        if record.HasField("history")
    ]
    return [{name: value for name, value in point.items() if not name.startswith("_")} for point in points]


def test_wandb_gives_back_what_was_logged(tmp_path: Path, offline: None) -> None:
    logger = opened("wandb", tmp_path)
    logger.log(1, {"fvu": 0.5, "lr": 1e-3}, HISTOGRAM)
    logger.log(2, {"fvu": math.nan, "lr": 2e-3, "ce": None})
    logger.finish({"verdict": "usable"})
    assert logger.notes == []
    first, second = logged(tmp_path)
    assert first.pop("density.values") == HISTOGRAM
    bins = first.pop("density.bins")
    assert (len(bins), bins[0], bins[-1]) == (41, -6, 0)
    assert first.pop("density._type") == "histogram"
    assert first == {"fvu": 0.5, "lr": 1e-3, "step": 1}
    assert second == {"lr": 2e-3, "step": 2}
    (run,) = [record.run for record in records(tmp_path) if record.HasField("run")]
    assert (run.project, run.display_name) == ("aquin-nb", "first")
    assert {item.key: item.value_json for item in run.config.update}["k"] == "4"
    summary = [item for record in records(tmp_path) if record.HasField("summary") for item in record.summary.update]
    assert "usable" in {json.loads(item.value_json) for item in summary if item.key == "verdict"}


def test_wandb_goes_on_as_the_same_run(tmp_path: Path, offline: None) -> None:
    for steps in ((1, 2, 3), (3, 4)):
        logger = opened("wandb", tmp_path)
        for step in steps:
            logger.log(step, {"fvu": 1.0})
        logger.finish({})
        assert logger.notes == []
    other = opened("wandb", tmp_path / "other")
    other.finish({})
    runs = {record.run.run_id for record in records(tmp_path) if record.HasField("run")}
    assert runs == {json.loads((tmp_path / "wandb.json").read_text())["id"]}
    assert runs != {json.loads((tmp_path / "other" / "wandb.json").read_text())["id"]}
    assert [point["step"] for point in logged(tmp_path)] == [1, 2, 3, 3, 4]


def test_wandb_leaves_the_persons_own_run_alone(tmp_path: Path, offline: None) -> None:
    import wandb

    own = wandb.init(project="mine", dir=tmp_path / "mine", settings=wandb.Settings(console="off"))
    logger = opened("wandb", tmp_path / "ours")
    logger.log(1, {"fvu": 1.0})
    assert wandb.run is own
    logger.finish({})
    own.log({"loss": 2.0})
    own.finish()
    assert logged(tmp_path / "ours") == [{"fvu": 1.0, "step": 1}]
    assert logged(tmp_path / "mine") == [{"loss": 2.0}]


def test_wandb_without_an_account_says_so_and_asks_nothing(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    script = f"""
        from pathlib import Path
        from aquin_nb.engine.sae.loggers import open_loggers
        (logger,) = open_loggers(["wandb"], Path({str(tmp_path)!r}), "first")
        logger.start({{}})
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none"), "WANDB_CONFIG_DIR": str(tmp_path / "config")}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=clean | home,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OutputError: W&B has no account to log to. Run `wandb login`" in ran.stderr
    assert not (tmp_path / "wandb.json").exists()


def test_a_damaged_id_says_so(tmp_path: Path, offline: None) -> None:
    (tmp_path / "wandb.json").write_text('{"i')
    (logger,) = open_loggers(["wandb"], tmp_path, "first")
    with pytest.raises(OutputError, match=r"wandb\.json is damaged; delete it"):
        logger.start({})


class Breaking:
    """A target that fails at its `at`-th point."""

    def __init__(self, at: int) -> None:
        self.at, self.steps, self.closed = at, list[int](), False

    def start(self, config: dict[str, Any]) -> None:
        if config.get("broken"):
            raise ConnectionError("no route to host")

    def log(self, step: int, values: dict[str, float], histogram: Any) -> None:
        if len(self.steps) + 1 == self.at:
            raise OSError("disk\n quota exceeded.")
        self.steps.append(step)

    def finish(self, summary: dict[str, Any]) -> None:
        raise ValueError

    def close(self) -> None:
        self.closed = True
        raise OSError("still broken")


def test_a_failing_logger_is_switched_off_with_one_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Breaking(at=3)
    monkeypatch.setitem(loggers._KINDS, "tensorboard", lambda folder, run: target)
    logger = opened("tensorboard", tmp_path)
    for step in range(1000, 6000, 1000):
        logger.log(step, {"fvu": 1.0})
    logger.finish({})
    assert target.steps == [1000, 2000]
    assert target.closed
    assert logger.notes == ["Logging to tensorboard stopped at step 3,000: OSError: disk quota exceeded."]


def test_a_logger_that_fails_at_the_end_notes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loggers._KINDS, "tensorboard", lambda folder, run: Breaking(at=9))
    logger = opened("tensorboard", tmp_path)
    logger.log(7, {"fvu": 1.0})
    logger.finish({})
    assert logger.notes == ["Logging to tensorboard stopped at step 7: ValueError."]


def test_a_logger_that_cannot_start_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loggers._KINDS, "tensorboard", lambda folder, run: Breaking(at=9))
    (logger,) = open_loggers(["tensorboard"], tmp_path, "first")
    with pytest.raises(OutputError, match=r"cannot start \(ConnectionError: no route to host\)"):
        logger.start({"broken": True})


def test_a_folder_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    (logger,) = open_loggers(["tensorboard"], tmp_path / "file", "first")
    with pytest.raises(OutputError, match="tensorboard cannot start"):
        logger.start({})


def test_unknown_and_missing_loggers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DictionaryError, match=r"'tensorbord' is no logger\. Did you mean tensorboard\?"):
        open_loggers(["tensorbord"], tmp_path, "first")
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    for name in ("wandb", "tensorboard"):
        with pytest.raises(OutputError, match=rf"pip install 'aquin-nb\[{name}\]'"):
            open_loggers([name], tmp_path, "first")
    assert open_loggers([], tmp_path, "first") == []


def test_both_together_and_each_once(tmp_path: Path, offline: None) -> None:
    pytest.importorskip("tensorboard")
    opened_ones = open_loggers(["wandb", "tensorboard", "wandb"], tmp_path, "first")
    assert len(opened_ones) == 2
    for logger in opened_ones:
        logger.start({})
        logger.log(1, {"fvu": 0.5})
        logger.finish({})
        assert logger.notes == []
    assert logged(tmp_path) == [{"fvu": 0.5, "step": 1}]
    assert [e.value for e in read(tmp_path).Scalars("fvu")] == [0.5]

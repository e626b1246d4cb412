"""A training that was stopped goes on to the very same weights, and says why where it cannot."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from killed_runs import CASES, STEPS
from planted import D, assert_same, codes, directions, member, planted, settings, stored
from safetensors.torch import load_file, save_file

import aquin_nb
from aquin_nb.control import Control
from aquin_nb.engine.activations import stream as streams
from aquin_nb.engine.activations.store import Store
from aquin_nb.engine.activations.stream import ShuffledStream
from aquin_nb.engine.sae import ARCHITECTURES
from aquin_nb.engine.sae import trainer as trainers
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.trainer import Interrupted, TrainOutcome, fit
from aquin_nb.errors import Cancelled, DictionaryError, OutOfMemory, OutputError, StoreError

KILLS = 10
SHORT: dict[str, Any] = {"d_sae": 64, "k": 4, "batch_size": 64, "steps": 60, "lr": 1e-2, "dtype": "float32"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def state(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def assert_same_result(one: Path, other: Path) -> None:
    """The dictionaries are equal to the bit, the histories but for the speed, and the cards tell the same."""
    mine, theirs = state(one), state(other)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, theirs[name]), name
        else:
            assert {**value, "name": ""} == {**theirs[name], "name": ""} if name == "cfg" else value == theirs[name]
    histories = [pd.read_csv(path.with_suffix(".history.csv")) for path in (one, other)]
    first, second = (history.drop(columns="tokens_per_second") for history in histories)
    pd.testing.assert_frame_equal(first, second)
    cards = [json.loads(path.with_suffix(".card.json").read_text()) for path in (one, other)]
    for name in ("status", "verdict", "reasons", "held_out", "config", "corpus", "model", "layer"):
        if name == "config":
            for card in cards:
                for free in ("name", "output"):
                    card["config"]["full"].pop(free)
        assert cards[0][name] == cards[1][name], name
    assert cards[0]["latest"]["density"] == cards[1]["latest"]["density"]


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trainings of every kind, killed with SIGKILL at 50 random instants in all and resumed until they ended."""
    folder = tmp_path_factory.mktemp("kills")
    here = Path(__file__).parent
    environment = os.environ | {
        "AQUIN_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[2])]),
    }
    command = [sys.executable, str(here / "killed_runs.py"), str(folder), str(KILLS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


class TestKills:
    @pytest.mark.parametrize("case", CASES)
    def test_what_was_killed_ends_bit_for_bit_as_if_it_had_not_been(self, kills: Path, case: str) -> None:
        whole = kills / case / "whole.pt"
        killed = sorted(path for path in (kills / case).glob("killed-*.pt") if path.suffixes == [".pt"])
        assert killed
        for path in killed:
            assert_same_result(path, whole)
            assert not path.with_suffix(".checkpoints").exists()
        assert not list((kills / case).glob(".*.part")), "nothing half written is left"

    def test_the_kills_met_the_start_the_middle_and_the_end(self, kills: Path) -> None:
        met = [kill for case in json.loads((kills / "kills.json").read_text()).values() for kill in case]
        assert len(met) == KILLS * len(CASES) >= 50
        steps = [kill["step"] for kill in met]
        assert any(step == 0 for step in steps)
        assert sum(0 < step < STEPS - 10 for step in steps) > 20
        assert any(kill["written"] for kill in met)

    def test_dead_latents_and_auxk_took_part(self, kills: Path) -> None:
        for case in ("topk", "batchtopk"):
            assert pd.read_csv(kills / case / "whole.history.csv")["dead"].max() > 0


def cancelled_at(step: int) -> Control:
    control = Control(on_tick=lambda tick: control.cancel() if tick.done == step else None)
    return control


def stopped(
    x: Any, folder: Path, at: int, *, every: int | None = None, keep: int = 2, **changes: Any
) -> tuple[Checkpoints, TrainOutcome]:
    """A training of `SHORT` that was cancelled after `at` steps."""
    config = settings(**SHORT | changes)
    stream = ShuffledStream(x, config.batch_size)
    kept = Checkpoints(folder, every, keep)
    with pytest.raises(Interrupted) as caught:
        fit(stream, [member(config, stream, checkpoints=kept)], control=cancelled_at(at))
    return kept, caught.value.outcomes[0]


def resumed(x: Any, found: dict[str, Any], **changes: Any) -> TrainOutcome:
    config = settings(**SHORT | changes)
    stream = ShuffledStream(x, config.batch_size)
    return fit(stream, [member(config, stream, resume=found)])[0]


def uninterrupted(x: Any, **changes: Any) -> TrainOutcome:
    config = settings(**SHORT | changes)
    stream = ShuffledStream(x, config.batch_size)
    return fit(stream, [member(config, stream)])[0]


class TestCancelled:
    @pytest.mark.parametrize("architecture", ARCHITECTURES)
    @pytest.mark.parametrize("at", [1, 33, 60])
    def test_a_cancelled_run_goes_on_to_the_same_bits(self, architecture: str, at: int, tmp_path: Path) -> None:
        """`dead_after_tokens` makes latents die and AuxK work; an ema and a falling k have a state of their own."""
        x = planted(1500)
        more: dict[str, Any] = {
            "architecture": architecture,
            "dead_after_tokens": 192,
            "ema": 0.9,
            "initial_k": 9,
            "k_warmup": 40,
        }
        kept, outcome = stopped(x, tmp_path, at, **more)
        found, problems = kept.latest()
        assert (found["step"], outcome.dictionary.cfg.step, problems) == (at, at, [])
        again = resumed(x, found, **more)
        assert_same(again, uninterrupted(x, **more))
        assert again.dictionary.cfg.complete

    def test_it_may_be_stopped_again_and_again(self, tmp_path: Path) -> None:
        x = planted(1500)
        config = settings(**SHORT)
        stream = ShuffledStream(x, 64)
        kept, _ = stopped(x, tmp_path, 10)
        for at in (11, 29, 47):
            again = member(config, stream, checkpoints=kept, resume=kept.latest()[0])
            with pytest.raises(Interrupted):
                fit(stream, [again], control=cancelled_at(at))
        assert_same(resumed(x, kept.latest()[0]), uninterrupted(x))

    def test_the_speed_leaves_out_the_time_between(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Points every 50 steps, 0.5 s a step on this clock, stopped at 30: the day until the resume does not count."""
        x, now = planted(1500), [1000.0]

        def clocked(at: int) -> Control:
            def step(done: int) -> None:
                now[0] += 0.5
                if done == at:
                    control.cancel()

            control = Control(on_tick=lambda tick: step(tick.done))
            return control

        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        config = settings(**SHORT | {"steps": 100, "log_every": 50})
        stream, kept = ShuffledStream(x, 64), Checkpoints(tmp_path, None)
        with pytest.raises(Interrupted):
            fit(stream, [member(config, stream, checkpoints=kept)], control=clocked(30))
        now[0] += 86_400
        found = kept.latest()[0]
        (outcome,) = fit(stream, [member(config, stream, resume=found)], control=clocked(0))
        assert outcome.history[1].step == 50
        assert outcome.history[1].tokens_per_second == pytest.approx(64 / 0.5)
        older = kept.latest()[0]
        del older["window"]["seconds"]  # as earlier versions wrote it
        (outcome,) = fit(stream, [member(config, stream, resume=older)], control=clocked(0))
        assert math.isnan(outcome.history[1].tokens_per_second)
        assert outcome.history[2].tokens_per_second > 0

    def test_the_checkpoint_is_not_kept_in_memory_beside_the_run(self, tmp_path: Path) -> None:
        x = planted(1500)
        kept, _ = stopped(x, tmp_path, 30)
        config = settings(**SHORT)
        stream = ShuffledStream(x, 64)
        one = member(config, stream, resume=kept.latest()[0])
        assert one.resume is not None
        moment = weakref.ref(one.resume["optimizer"]["enc"]["exp_avg"])
        alive = []
        control = Control(on_tick=lambda tick: alive.append(moment() is not None))
        fit(stream, [one], control=control)
        assert alive
        assert not any(alive)

    def test_another_number_of_threads_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        x = planted(1500)
        kept, _ = stopped(x, tmp_path, 30)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
        outcome = resumed(x, kept.latest()[0])
        assert any("at step 30 with 7 threads instead of 1" in note for note in outcome.notes)

    def test_a_transcoder_goes_on_to_the_same_bits(self, tmp_path: Path) -> None:
        x = planted(1500)
        config, y = settings(**SHORT, skip=True), x[:, :20].flip(1) * 3
        stream, kept = ShuffledStream((x, y), 64), Checkpoints(tmp_path, None)
        sides = {"inputs": slice(0, D), "outputs": slice(D, None)}
        with pytest.raises(Interrupted):
            fit(stream, [member(config, stream, checkpoints=kept, **sides)], control=cancelled_at(21))
        (again,) = fit(stream, [member(config, stream, resume=kept.latest()[0], **sides)])
        (whole,) = fit(stream, [member(config, stream, **sides)])
        assert_same(again, whole)


class TestDamage:
    def test_the_one_before_is_used_where_the_newest_is_half_written(self, tmp_path: Path) -> None:
        x = planted(1500)
        kept, _ = stopped(x, tmp_path, 35, every=10)
        assert [path.name for path in kept.files()] == ["step_000000030.pt", "step_000000035.pt"]
        newest = kept.files()[-1]
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
        found, problems = kept.latest()
        assert found["step"] == 30
        assert problems == ["step_000000035.pt is damaged or not a PyTorch file; an earlier checkpoint was used."]
        assert_same(resumed(x, found), uninterrupted(x))

    @pytest.mark.parametrize("left", [0, 1, 100, -1])
    def test_all_damaged(self, tmp_path: Path, left: int) -> None:
        kept, _ = stopped(planted(500), tmp_path / "run.checkpoints", 15, every=10)
        for path in kept.files():
            path.write_bytes(path.read_bytes()[:left])
        with pytest.raises(
            StoreError, match=r"run\.checkpoints cannot be resumed from: .*15\.pt is dam.*10\.pt is dam"
        ):
            kept.latest()

    def test_a_file_of_another_kind_is_passed_over(self, tmp_path: Path) -> None:
        kept, _ = stopped(planted(500), tmp_path, 15)
        torch.save({"step": 99, "model": torch.zeros(3)}, tmp_path / "step_000000099.pt")
        found, problems = kept.latest()
        assert found["step"] == 15
        assert problems == ["step_000000099.pt is not a checkpoint of aquin-nb; it was passed over."]

    def test_a_newer_format_asks_for_an_upgrade(self, tmp_path: Path) -> None:
        kept, _ = stopped(planted(500), tmp_path, 15)
        path = kept.files()[0]
        torch.save(state(path) | {"version": 2}, path)
        with pytest.raises(StoreError, match="newer aquin-nb; please upgrade"):
            kept.latest()


class TestFullDisk:
    @pytest.fixture
    def fill(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
        """`fill(first, last)`: checkpoints of these steps find no room."""

        def between(first: int, last: int) -> None:
            save = torch.save

            def full(value: Any, path: Path) -> None:
                if value["format"] == "aquin-nb/training" and first <= value["step"] <= last:
                    path.write_bytes(b"half of it")
                    raise OSError(errno.ENOSPC, "No space left on device")
                save(value, path)

            monkeypatch.setattr(torch, "save", full)

        return between

    def test_the_training_goes_on_and_says_so(self, tmp_path: Path, fill: Callable[[int, int], None]) -> None:
        x = planted(1500)
        fill(30, 40)
        kept, outcome = stopped(x, tmp_path, 45, every=10)
        told = [note for note in outcome.notes if "could not be written" in note]
        assert len(told) == 1, "the latest failure says it all"
        assert told[0].startswith("The checkpoint at step 40 could not be written: No space left while writing")
        assert told[0].endswith("The one before it is still good.")
        assert [path.name for path in kept.files()] == ["step_000000020.pt", "step_000000045.pt"]
        assert not list(tmp_path.glob(".*")), "nothing half written is left"

    def test_what_was_written_before_still_serves(self, tmp_path: Path, fill: Callable[[int, int], None]) -> None:
        x = planted(1500)
        fill(30, 10**6)
        kept, _ = stopped(x, tmp_path, 45, every=10)
        found, problems = kept.latest()
        assert (found["step"], problems) == (20, [])
        assert_same(resumed(x, found), uninterrupted(x))

    def test_a_training_without_room_for_any_checkpoint_completes(
        self, tmp_path: Path, fill: Callable[[int, int], None]
    ) -> None:
        fill(0, 10**6)
        output = tmp_path / "run.pt"
        result = aquin_nb.sae_train(planted(1500), SHORT | {"checkpoint_every": 20, "output": str(output)})
        assert result.card.status == "completed"
        told = [note for note in result.card.notes if "could not be written" in note]
        assert len(told) == 1
        assert "The checkpoint at step" in told[0]
        assert result.card.checkpoint is None
        assert aquin_nb.load_dictionary(output).cfg.complete


def interrupt_after(output: Path, *, steps: int = 1) -> None:
    """Press Ctrl-C once a checkpoint of that many steps is there."""
    folder = output.with_suffix(".checkpoints")

    def watch() -> None:
        while not [path for path in folder.glob("step_*.pt") if int(path.stem[5:]) >= steps]:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


LONG = SHORT | {"steps": 600, "checkpoint_every": 25}
FIFTH = {"layer": 5, "hook": "blocks.5.hook_resid_post"}


class TestPublic:
    """`sae_train` interrupted by Ctrl-C, and `sae_resume`."""

    def stop(self, activations: Any, output: Path, **changes: Any) -> Path:
        interrupt_after(output)
        with pytest.raises(Cancelled, match=r"^Cancelled at step [\d,]+ of 600\. The dictionary so far is in "):
            aquin_nb.sae_train(activations, LONG | {"output": str(output)} | changes)
        return output

    @pytest.mark.parametrize("kind", ["tensor", "store", "pair of stores"])
    def test_an_interrupted_run_goes_on(self, kind: str, tmp_path: Path) -> None:
        x = planted(2000)
        given: Any = x
        if kind == "store":
            given = stored(tmp_path / "store", x).path
        if kind == "pair of stores":
            given = (stored(tmp_path / "in", x).path, stored(tmp_path / "out", 2 * x.flip(1)[:, :20]).path)
        output = self.stop(given, tmp_path / "stopped.pt", name="run")
        so_far = aquin_nb.load_dictionary(output)
        assert not so_far.cfg.complete
        assert so_far.cfg.step >= 25
        card = json.loads(output.with_suffix(".card.json").read_text())
        assert card["status"] == "cancelled"
        assert card["checkpoint"]["step"] == so_far.cfg.step
        result = aquin_nb.sae_resume(output, given if kind == "tensor" else None)
        assert result.card.resumed_from == [so_far.cfg.step]
        assert result.card.status == "completed"
        aquin_nb.sae_train(given, LONG | {"output": str(tmp_path / "whole.pt"), "name": "run"})
        assert_same_result(output, tmp_path / "whole.pt")
        with pytest.raises(StoreError, match=r"stopped\.pt is complete: there is nothing to resume"):
            aquin_nb.sae_resume(output)

    def test_each_of_several_layers_goes_on_with_its_own(self, tmp_path: Path, home: Path) -> None:
        x = planted(2000)
        layers = {3: stored(tmp_path / "3", x).path, 5: stored(tmp_path / "5", 2 * x.flip(1), about=FIFTH).path}
        outputs = [home / "sae" / "user" / "none" / "sweep" / f"sae_layer{layer}.pt" for layer in layers]
        interrupt_after(outputs[1])
        with pytest.raises(Cancelled):
            aquin_nb.sae_train(layers, LONG | {"name": "sweep"})
        whole = aquin_nb.sae_train(layers, LONG | {"name": "whole"})
        for output, expected in zip(outputs, whole, strict=True):
            assert aquin_nb.sae_resume(output).card.layer == expected.card.layer
            assert_same_result(output, expected.path)

    def test_each_tensor_of_several_goes_on_with_its_own(self, home: Path) -> None:
        x = planted(2000)
        layers = {1: x, 2: 2 * x.flip(1)}
        outputs = [home / "sae" / "user" / "activations" / "both" / f"sae_layer{layer}.pt" for layer in layers]
        interrupt_after(outputs[1])
        with pytest.raises(Cancelled):
            aquin_nb.sae_train(layers, LONG | {"name": "both"})
        with pytest.raises(StoreError, match="read 2 tensors or stores side by side and 1 were given"):
            aquin_nb.sae_resume(outputs[1], layers[2])
        with pytest.raises(StoreError, match="tensor in memory"):
            aquin_nb.sae_resume(outputs[1])
        assert aquin_nb.sae_resume(outputs[1], layers).card.layer == 2
        whole = aquin_nb.sae_train(layers, LONG | {"name": "whole"})
        assert_same_result(outputs[1], whole[1].path)

    def test_every_of_a_sweep_over_settings_goes_on(self, tmp_path: Path) -> None:
        x = planted(2000)
        sweep = [{"output": str(tmp_path / f"{k}.pt"), "k": k, "name": f"k{k}"} for k in (2, 6)]
        interrupt_after(tmp_path / "6.pt")
        with pytest.raises(Cancelled):
            aquin_nb.sae_train(x, [LONG | one for one in sweep])
        aquin_nb.sae_resume(tmp_path / "6.pt", x)
        aquin_nb.sae_train(x, LONG | {"k": 6, "name": "k6", "output": str(tmp_path / "alone.pt")})
        assert_same_result(tmp_path / "6.pt", tmp_path / "alone.pt")

    def test_settings_that_changed_are_named(self, tmp_path: Path) -> None:
        x = planted(2000)
        output = self.stop(x, tmp_path / "run.pt")
        with pytest.raises(DictionaryError, match=r"changed: k: 4 -> 5; lr: 0\.01 -> 0\.02\. Leave config out"):
            aquin_nb.sae_resume(output, x, config={"k": 5, "lr": 0.02})
        with pytest.raises(DictionaryError, match=r"changed: .*steps: 600 -> 700"):
            aquin_nb.sae_resume(output, x, config=LONG | {"steps": 700})
        (tmp_path / "same.json").write_text(json.dumps(LONG | {"checkpoint_every": 500}))
        assert aquin_nb.sae_resume(output, x, config=tmp_path / "same.json").card.status == "completed"

    def test_the_very_config_is_no_change(self, tmp_path: Path) -> None:
        """Shares of a budget that was left to its default, and a batch that the rows do not fill."""
        x = planted(1000)
        config: dict[str, Any] = {
            "d_sae": 64,
            "k": 4,
            "initial_k": 9,
            "lr_warmup": 0.02,
            "k_warmup": 0.2,
            "batch_size": 4096,
        }
        config |= {"output": tmp_path / "run.pt", "name": "run", "dtype": "float32", "checkpoint_every": 2}
        interrupt_after(tmp_path / "run.pt")
        with pytest.raises(Cancelled, match=r"of 3,000\."):
            aquin_nb.sae_train(x, config)
        interrupt_after(tmp_path / "run.pt", steps=20)
        with pytest.raises(Cancelled, match=r"of 3,000\."):
            aquin_nb.sae_resume(tmp_path / "run.pt", x, config=config)

    def test_where_it_runs_and_what_it_writes_may_change(self, tmp_path: Path) -> None:
        x = planted(2000)
        output = self.stop(x, tmp_path / "run.pt")
        for path in output.with_suffix(".checkpoints").iterdir():  # as if it had begun on a machine with a GPU
            found = state(path)
            found["config"]["device"] = "cuda"
            torch.save(found, path)
        if not torch.cuda.is_available():
            with pytest.raises(DictionaryError, match=r"no CUDA GPU .* resume it with config=\{'device': 'cpu'\}"):
                aquin_nb.sae_resume(output, x)
        for other in ({"output": "elsewhere.pt"}, {"name": "another"}):
            with pytest.raises(DictionaryError, match=f"changed: {next(iter(other))}: "):
                aquin_nb.sae_resume(output, x, config=other | {"device": "cpu"})
        free = {"device": "cpu", "checkpoint_every": 7, "block_rows": 16, "output": output}
        used = aquin_nb.sae_resume(output, x, config=free).card.config
        assert used is not None
        assert {name: used.full[name] for name in free} == free | {"output": str(output)}

    def test_a_budget_in_other_words_is_no_change(self, tmp_path: Path) -> None:
        x = planted(2000)
        output = self.stop(x, tmp_path / "run.pt")
        tokens = {name: value for name, value in LONG.items() if name != "steps"} | {"tokens": 600 * 64}
        assert aquin_nb.sae_resume(output, x, config=tokens).card.status == "completed"

    def test_other_activations_are_refused(self, tmp_path: Path) -> None:
        x = planted(2000)
        output = self.stop(x, tmp_path / "run.pt")
        with pytest.raises(StoreError, match="tensor in memory"):
            aquin_nb.sae_resume(output)
        with pytest.raises(StoreError, match=rf"reads vectors of width {D} and gives {D}; these activations are 20"):
            aquin_nb.sae_resume(output, x[:, :20])
        other = x.clone()
        other[7, 3] += 1
        with pytest.raises(StoreError, match=r"not the activations that the run began with .*contents differ"):
            aquin_nb.sae_resume(output, other)
        assert aquin_nb.sae_resume(output, x).card.status == "completed", "a refusal takes nothing away"

    def test_a_store_that_was_collected_anew_or_is_gone(self, tmp_path: Path) -> None:
        x = planted(2000)
        store = stored(tmp_path / "store", x).path
        output = self.stop(store, tmp_path / "run.pt")
        store.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match=r"if it has moved, say where to: aquin_nb\.sae_resume\(output, FOLDER\)"):
            aquin_nb.sae_resume(output)
        stored(store, x.flip(0))
        with pytest.raises(StoreError, match="contents differ"):
            aquin_nb.sae_resume(output)
        assert aquin_nb.sae_resume(output, tmp_path / "elsewhere").card.status == "completed"

    def test_where_there_is_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(
            StoreError, match=r"no training to resume at .*run\.pt: run\.checkpoints holds no checkpoint"
        ):
            aquin_nb.sae_resume(tmp_path / "run.pt")

    def test_what_was_stopped_and_has_lost_its_checkpoints_is_not_called_complete(self, tmp_path: Path) -> None:
        output = self.stop(planted(2000), tmp_path / "run.pt")
        for path in output.with_suffix(".checkpoints").iterdir():
            path.unlink()
        with pytest.raises(StoreError, match=r"was stopped at step \d+, and its checkpoints are gone"):
            aquin_nb.sae_resume(output)

    def test_a_damaged_newest_checkpoint_does_not_cost_the_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With one kept: the run goes on from the one before, and is stopped again before it is where it was."""
        x, config = planted(2000), LONG | {"output": tmp_path / "run.pt", "name": "run", "keep_checkpoints": 1}
        interrupt_after(tmp_path / "run.pt")
        with pytest.raises(Cancelled):
            aquin_nb.sae_train(x, config)
        (tmp_path / "run.checkpoints" / "step_000000599.pt").write_bytes(b"half of it")
        tick = trainers._tick

        def cancelling(control: Control, mesh: Any, step: int, last: int) -> None:
            if step == 590:
                control.cancel()
            tick(control, mesh, step, last)

        with monkeypatch.context() as patch:
            patch.setattr(trainers, "_tick", cancelling)
            with pytest.raises(Cancelled, match="step 590"):
                aquin_nb.sae_resume(tmp_path / "run.pt", x)
        left = sorted(path.name for path in (tmp_path / "run.checkpoints").iterdir())
        assert left == ["step_000000590.pt", "step_000000599.unreadable"]
        aquin_nb.sae_resume(tmp_path / "run.pt", x)
        aquin_nb.sae_train(x, config | {"output": str(tmp_path / "whole.pt")})
        assert_same_result(tmp_path / "run.pt", tmp_path / "whole.pt")

    def test_the_place_of_a_stopped_run_is_not_taken_by_another(self, tmp_path: Path) -> None:
        output = self.stop(planted(2000), tmp_path / "run.pt")
        with pytest.raises(OutputError, match=r"belongs to a training that was stopped; sae_resume\(.*goes on with it"):
            aquin_nb.sae_train(planted(2000), LONG | {"output": str(output)})

    def test_its_folder_of_checkpoints_names_a_run_too(self, tmp_path: Path) -> None:
        x = planted(2000)
        output = self.stop(x, tmp_path / "run.pt")
        assert aquin_nb.sae_resume(str(output.with_suffix(".checkpoints")), x).path == output

    def test_a_newest_checkpoint_that_is_damaged_is_told(self, tmp_path: Path) -> None:
        x = planted(2000)
        interrupt_after(tmp_path / "run.pt", steps=50)
        with pytest.raises(Cancelled):
            aquin_nb.sae_train(x, LONG | {"output": str(tmp_path / "run.pt"), "name": "run"})
        newest = sorted((tmp_path / "run.checkpoints").iterdir())[-1]
        newest.write_bytes(newest.read_bytes()[:-100])
        result = aquin_nb.sae_resume(tmp_path / "run.pt", x)
        assert f"{newest.name} is damaged or not a PyTorch file; an earlier checkpoint was used." in result.card.notes
        aquin_nb.sae_train(x, LONG | {"output": str(tmp_path / "whole.pt"), "name": "run"})
        assert_same_result(tmp_path / "run.pt", tmp_path / "whole.pt")


class TestBadRows:
    def spoil(self, folder: Path, row: int) -> tuple[Path, bytes]:
        """Put a NaN into a row of a store, as no writer of ours would; the chunk's file and its bytes before."""
        path = sorted((folder / "chunks").iterdir())[row // 1000]
        before = path.read_bytes()
        parts = load_file(path)
        parts["x.0"][row % 1000, 1] = float("nan")
        save_file(parts, path)
        return path, before

    def test_the_last_good_checkpoint_outlives_a_bad_row(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Read in pieces: a row that comes late in the pass is met late in the training."""
        monkeypatch.setattr(streams, "BUFFER_BYTES", 2048 * D * 4)
        x = codes(24_000) @ directions() + 0.5
        x[:, 0] = torch.arange(24_000) / 24_000
        folder = stored(tmp_path / "store", x).path
        numbered = ShuffledStream(Store(folder), 64)
        late = list(numbered.epoch(0))[320]
        row = round(float(late[0, 0]) * 24_000)
        path, before = self.spoil(folder, row)
        output = tmp_path / "run.pt"
        config = SHORT | {"steps": 350, "checkpoint_every": 20, "output": str(output), "name": "run"}
        with pytest.raises(StoreError) as caught:
            aquin_nb.sae_train(folder, config)
        assert f"{path} holds NaN in its row {row % 1000:,}, row {row:,} of the store" in str(caught.value)
        newest = sorted(output.with_suffix(".checkpoints").iterdir())[-1]
        assert str(caught.value).endswith(f"The last good checkpoint is {newest}.")
        card = json.loads(output.with_suffix(".card.json").read_text())
        assert card["status"] == "failed"
        path.write_bytes(before)
        aquin_nb.sae_resume(output)
        aquin_nb.sae_train(folder, config | {"output": str(tmp_path / "whole.pt")})
        assert_same_result(output, tmp_path / "whole.pt")

    def test_a_bad_row_among_the_held_out_ones_is_found_before_the_work(self, tmp_path: Path) -> None:
        x = planted(3000)
        x[:, 0] = torch.arange(3000) / 3000
        store = stored(tmp_path / "store", x)
        held = ShuffledStream(store, 64).held_out()
        self.spoil(store.path, round(float(held[5, 0]) * 3000))
        began: list[int] = []
        stream = ShuffledStream(store, 64)
        control = Control(on_tick=lambda tick: began.append(tick.done))
        with pytest.raises(StoreError, match="holds NaN"):
            fit(stream, [member(settings(**SHORT), stream)], control=control)
        assert not began

    def test_a_failure_after_the_last_step_does_not_cost_the_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        x, kept = planted(1500), Checkpoints(tmp_path, None)
        stream = ShuffledStream(x, 64)

        def broken(*_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        with monkeypatch.context() as patch:
            patch.setattr(trainers, "evaluate", broken)
            with pytest.raises(OutOfMemory, match=r"after the last step .*checkpoint is .*step_000000060\.pt\."):
                fit(stream, [member(settings(**SHORT), stream, checkpoints=kept)])
        found, _ = kept.latest()
        assert found["step"] == 60
        assert_same(resumed(x, found), uninterrupted(x))


def test_a_checkpoint_holds_tensors_and_plain_values_only(tmp_path: Path) -> None:
    kept, _ = stopped(planted(500), tmp_path, 5)
    found = torch.load(kept.files()[0], weights_only=True)
    assert found["format"] == "aquin-nb/training"

"""Two processes train the dictionary that one process trains, data parallel or tensor parallel, and stop together."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mesh_cases
import pandas as pd
import pytest
import torch

from aquin_nb.engine.activations.manifest import SiteInfo
from aquin_nb.engine.activations.writer import StoreWriter
from aquin_nb.engine.sae import distributed, load_dictionary
from aquin_nb.engine.sae.checkpoints import Checkpoints
from aquin_nb.engine.sae.distributed import DeviceMesh, main
from aquin_nb.engine.sae.history import COLUMNS
from aquin_nb.engine.sae.mesh import Mesh
from aquin_nb.errors import DictionaryError

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MESHES = ("data", "latent")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def environment(**more: str) -> dict[str, str]:
    paths = [str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"} | more


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Ranks:
    """What two processes left: by mesh and rank what each found, and the exit status and last words of each."""

    folder: Path
    codes: list[int]
    said: list[str]

    def found(self, mesh: str, rank: int) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.folder / mesh / f"rank{rank}.json").read_text())
        return values

    def left(self, mesh: str, case: str) -> dict[str, Any]:
        values: dict[str, Any] = torch.load(self.folder / mesh / f"{case}.pt")
        return values

    def state(self, mesh: str, case: str) -> dict[str, Any]:
        return Checkpoints(self.folder / mesh / case, None).latest()[0]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Two processes that went through all cases; started once."""
    folder, port = tmp_path_factory.mktemp("ranks"), str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, str(HERE / "mesh_cases.py"), str(folder)],
            env=environment(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=180)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return Ranks(folder, [process.returncode for process in processes], said)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same trainings by one process: folders of checkpoints, and a file of what each left."""
    folder = tmp_path_factory.mktemp("alone")
    for name in mesh_cases.training_cases():
        (outcome,) = mesh_cases.trained(name, folder / name)
        left = {"tensors": outcome.dictionary.tensors(), "history": [tuple(point) for point in outcome.history]}
        torch.save(left | {"density": outcome.density}, folder / f"{name}.pt")
    return folder


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("case", mesh_cases.gradient_cases())
def test_gradients_are_those_of_one_process(ranks: Ranks, mesh: str, case: str) -> None:
    """One step in float64, to 1e-9: selections and dead latents are global, shared tensors are summed once."""
    assert [ranks.found(mesh, rank)[case] for rank in (0, 1)] == ["", ""]


WHOLE = [name for name in mesh_cases.training_cases() if name != "cancelled"]


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("case", WHOLE)
def test_a_training_ends_with_the_weights_of_one_process(ranks: Ranks, alone: Path, mesh: str, case: str) -> None:
    mine, theirs = ranks.left(mesh, case), torch.load(alone / f"{case}.pt")
    for name, tensor in theirs["tensors"].items():
        torch.testing.assert_close(mine["tensors"][name], tensor, **CLOSE, msg=lambda m, name=name: f"{name}: {m}")
    columns = len(COLUMNS) - 1  # all but the speed
    for ours, point in zip(mine["history"], theirs["history"], strict=True):
        assert ours[:columns] == pytest.approx(point[:columns], rel=1e-4, nan_ok=True)
    assert mine["density"] == theirs["density"]


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("case", [name for name in WHOLE if name != "resumed"])
def test_a_checkpoint_holds_the_whole_training(ranks: Ranks, alone: Path, mesh: str, case: str) -> None:
    mine, theirs = ranks.state(mesh, case), Checkpoints(alone / case, None).latest()[0]
    assert mine.keys() == theirs.keys()
    for name, tensor in theirs["parameters"].items():
        torch.testing.assert_close(mine["parameters"][name], tensor, **CLOSE)
        for key, moment in theirs["optimizer"][name].items():
            torch.testing.assert_close(mine["optimizer"][name][key], moment, rtol=1e-3, atol=1e-4)
    for name in ("silent", "dead"):
        assert torch.equal(mine[name], theirs[name])
    assert torch.equal(mine["window"]["fired"], theirs["window"]["fired"])
    assert float(mine["window"]["error"]) == pytest.approx(float(theirs["window"]["error"]), rel=1e-5)
    if "aux_k" in mesh_cases.training_cases()[case]:
        assert theirs["dead"].numel() > mesh_cases.training_cases()[case]["aux_k"]


@pytest.mark.parametrize("mesh", MESHES)
def test_a_cancel_on_one_rank_stops_both_and_one_process_goes_on(
    ranks: Ranks, alone: Path, tmp_path: Path, mesh: str
) -> None:
    """The last rank asked for the stop at step 9; the first one wrote dictionary and checkpoint of that step."""
    assert ranks.state(mesh, "cancelled")["step"] == 9
    assert ranks.left(mesh, "cancelled")["tensors"]["W_enc"].shape == (16, 96)
    kept = Checkpoints(tmp_path, None)
    state = ranks.state(mesh, "cancelled")
    kept.write(
        9, {key: value for key, value in state.items() if key not in ("format", "version", "step")} | {"step": 9}
    )
    (outcome,) = mesh_cases.trained("cancelled", tmp_path, resume=True)
    for name, tensor in torch.load(alone / "cancelled.pt")["tensors"].items():
        torch.testing.assert_close(outcome.dictionary.tensors()[name], tensor, **CLOSE)


@pytest.mark.parametrize("mesh", MESHES)
def test_weights_that_became_nan_on_one_rank_stop_both(ranks: Ranks, mesh: str) -> None:
    for rank in (0, 1):
        assert "NaN or infinite by step 0. Try a lower lr" in ranks.found(mesh, rank)["diverged"]


def test_a_rank_that_ends_does_not_leave_the_other_waiting(ranks: Ranks) -> None:
    assert ranks.codes == [0, 3], ranks.said
    assert "this rank fails" in ranks.said[1]
    assert (ranks.folder / "lost.txt").read_text().startswith("Another rank ended or could not be reached")


class TestRefusals:
    def test_a_shape_that_is_not_the_number_of_processes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(DictionaryError, match=r"2 data ranks × 4 latent ranks need 8 processes.* started 4"):
            DeviceMesh.from_environment(2, 4)
        with pytest.raises(DictionaryError, match=r"1 data ranks × 3 latent ranks need 3 processes"):
            DeviceMesh.from_environment(latent=3)

    def test_not_under_torchrun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RANK", raising=False)
        with pytest.raises(DictionaryError, match="started with torchrun"):
            DeviceMesh.from_environment(2, 1)

    def test_what_does_not_split_evenly(self) -> None:
        mesh = Mesh()
        mesh.data_size, mesh.latent_size = 3, 4
        mesh.require_even(d_sae=4096, batch_size=1023)
        with pytest.raises(DictionaryError, match=r"batch_size \(1,024\) does not split over 3 data ranks; 1,023 or"):
            mesh.require_even(d_sae=4096, batch_size=1024)
        with pytest.raises(DictionaryError, match=r"d_sae \(2\) does not split over 4 latent ranks; 4 does"):
            mesh.require_even(d_sae=2, batch_size=3)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    x = mesh_cases.rows(3000)
    numbers = torch.arange(len(x), dtype=torch.int32)
    about = {
        "unit": "token",
        "model": {"name": "tiny", "fingerprint": "f", "mode": "llm"},
        "corpus": {"name": "words", "why": "asked for"},
        "exclusions": "none",
        "context_size": 20,
    }
    site = SiteInfo("blocks.3.hook_resid_post", 3, 16)
    writer = StoreWriter(tmp_path / "store", [site], dtype="float32", about=about)
    writer.add({site.hook: x}, numbers, numbers // 20, numbers % 20)
    return writer.close().path


def test_torchrun_interrupted_and_resumed_by_one_process(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command of the documentation; Ctrl-C leaves a dictionary and a checkpoint, --resume ends the run."""
    config = tmp_path / "config.toml"
    lines = [
        'architecture = "batchtopk"',
        "d_sae = 96",
        "k = 4",
        "batch_size = 64",
        "steps = 1000",
        'dtype = "float32"',
    ]
    config.write_text("\n".join([*lines, f'output = "{tmp_path / "sae.pt"}"', 'device = "cpu"']))
    command = ["-m", "aquin_nb.engine.sae.distributed", str(config), str(store)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [sys.executable, *launch, *command, "--latent", "2"], env=environment(), stderr=subprocess.PIPE, text=True
    )
    guard = threading.Timer(120, process.kill)
    guard.start()
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("train "):
            process.send_signal(signal.SIGINT)
            break
    said += process.stderr.read()
    assert process.wait() != 0, said
    guard.cancel()
    assert "the same command with --resume goes on" in said
    stopped = load_dictionary(tmp_path / "sae.pt")
    assert not stopped.cfg.complete
    assert 0 < stopped.cfg.step < 1000

    changed = tmp_path / "changed.toml"
    changed.write_text(config.read_text().replace("k = 4", "k = 5"))
    assert main([str(changed), str(store), "--resume"]) == 1
    assert "changed: k: 4 -> 5. Set them back" in capsys.readouterr().err

    assert main([*command[2:], "--resume"]) == 0
    whole = load_dictionary(tmp_path / "sae.pt")
    assert whole.cfg.complete
    assert (whole.cfg.step, whole.cfg.layer, whole.cfg.model, whole.cfg.k) == (1000, 3, "tiny", 4)
    assert not Checkpoints.beside(tmp_path / "sae.pt").files()
    history = pd.read_csv(tmp_path / "sae.history.csv")
    assert tuple(history.columns) == COLUMNS
    assert history.step.is_monotonic_increasing
    assert (history.step.iloc[0], history.step.iloc[-1]) == (1, 1000)
    assert history.fvu.iloc[-1] < 0.5


def test_the_command_needs_a_free_place_and_a_checkpoint_to_resume_from(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.json"
    settings: dict[str, Any] = {
        "bandwidth": 0.1,
        "d_sae": 32,
        "k": 2,
        "batch_size": 64,
        "steps": 5,
        "output": str(tmp_path / "sae.pt"),
        "device": "cpu",
    }
    config.write_text(json.dumps(settings))
    monkeypatch.setattr(distributed, "fast_dtype", lambda *_: torch.bfloat16)
    assert main([str(config), str(store)]) == 0
    said = capsys.readouterr().err
    assert "bandwidth does nothing for topk." in said
    assert "The large products are in bfloat16, which a timed probe found faster" in said
    assert main([str(config), str(store)]) == 1
    assert "exist. Choose another output, or go on with --resume" in capsys.readouterr().err
    assert main([str(config), str(store), "--resume"]) == 1
    assert "cannot be resumed from: there is no checkpoint" in capsys.readouterr().err
    config.write_text(json.dumps(settings | {"output": None}))
    assert main([str(config), str(store)]) == 1
    assert "add output =" in capsys.readouterr().err

"""Which of several processes this one is, as torchrun or SLURM tell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..errors import SessionError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")


class Rank(NamedTuple):
    """This process is number `rank` of `world`, and number `local` on its machine; all count from 0."""

    rank: int
    world: int
    local: int

    def device(self, asked: str) -> str:
        """The device of this process where none was asked for: a GPU of its own, if the machine has them."""
        import torch

        if asked != "auto" or not torch.cuda.is_available():
            return asked
        return f"cuda:{self.local % torch.cuda.device_count()}"  # srun may show each task its own GPU only


def rank_of(environ: Mapping[str, str]) -> Rank | None:
    """The rank of this process; None where it is the only one.

    torchrun sets RANK, WORLD_SIZE and LOCAL_RANK, srun sets SLURM_PROCID, SLURM_NTASKS and SLURM_LOCALID. A batch
    script that was not started by srun has these three as well, but no SLURM_STEP_ID: it is one process.

    Raises:
        SessionError: a value that is no number, or a rank that is not below the number of processes.

    >>> rank_of({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    Rank(rank=1, world=4, local=1)
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        names = _TORCHRUN
    elif "SLURM_PROCID" in environ and "SLURM_NTASKS" in environ and "SLURM_STEP_ID" in environ:
        names = _SLURM
    else:
        return None
    said = [environ.get(name, "0") for name in names]
    try:
        rank, world, local = map(int, said)
    except ValueError:
        rank, world, local = -1, -1, -1
    if not 0 <= rank < world or local < 0:
        told = ", ".join(f"{name}={value}" for name, value in zip(names, said, strict=True))
        raise SessionError(f"The environment says {told}, which is no rank of a number of processes.")
    return Rank(rank, world, local) if world > 1 else None

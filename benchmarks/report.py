"""Print a benchmark's rows and keep them as JSON with what they were measured on."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import aquin_nb


def write(name: str, settings: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    print(pd.DataFrame(rows).to_string(index=False, max_colwidth=60))
    machine = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "aquin-nb": aquin_nb.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"settings": settings, "machine": machine, "rows": rows}, indent=2) + "\n")
    print(f"written to {path}")

"""Every route against requests made from the API's own description, valid and invalid: it never fails.

In full, some minutes: AQUIN_FUZZ_EXAMPLES=500 python -m pytest tests/orchestrator/test_schema_fuzz.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from senders import Sender, uuid7
from serving import served

EXAMPLES = int(os.environ.get("AQUIN_FUZZ_EXAMPLES", "3"))


def test_the_board_does_what_its_description_says_and_never_fails(tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed (pip install schemathesis)")
    config = Path(__file__).with_name("schemathesis.toml")
    with served(str(tmp_path / "board.db")) as board:
        board.send(Sender().run(uuid7()))
        board.board.bus.close()  # a stream without end would never be answered: streams end as when the board stops
        command = [str(Path(sys.executable).with_name("st")), "--config-file", str(config), "run"]
        command += [f"{board.url}/v1/openapi.json", "--header", f"Authorization: Bearer {board.token}", "--no-color"]
        command += ["--max-examples", str(EXAMPLES), "--seed", "1", "--warnings", "off"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120 + EXAMPLES * 5)
        assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
        assert "Tested: 19" in done.stdout

"""A PostgreSQL server of our own for the tests that run on both databases."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql import BINARIES, run


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[tuple[Path, str]]:
    """(data folder, URL without a database) of a server that only listens on loopback."""
    if not BINARIES:
        pytest.skip("PostgreSQL is not installed here (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'aquin-nb[postgres]')")
    root = Path(tempfile.mkdtemp(prefix="aquin-pg-"))
    root.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(root, "postgres")
    data, binaries = root / "data", BINARIES[-1]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run([str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-U", "aquin", "--no-sync"], root)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {root} -c fsync=off"  # no power cut is simulated
    start = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(root / "log"), "-o", options, "start"]
    run(start, root)
    try:
        yield data, f"postgresql://aquin@127.0.0.1:{port}"
    finally:
        run([str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop"], root)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: tuple[Path, str], request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(f"{postgres_server[1]}/postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    yield f"{postgres_server[1]}/{name}"
    with psycopg.connect(f"{postgres_server[1]}/postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]

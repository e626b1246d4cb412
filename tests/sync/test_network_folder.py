"""A folder on a network file system: nothing is shared between connections, nothing is lost, and a person is told.

No such file system can be mounted here: its mode is forced on a local disk, and its detection reads made-up mounts.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading

import pytest
from board import TOKEN
from history import History

from aquin_nb.cli import main
from aquin_nb.sync import Outbox, filesystem
from aquin_nb.sync.lease import Lease
from aquin_nb.sync.spool import Spool

CARD = "01890000-0000-7000-8000-0000000000aa"
POINT = {"point": {"step": 1, "fvu": 0.5}}


@pytest.fixture(autouse=True)
def _remote(monkeypatch):
    monkeypatch.setenv("AQUIN_NB_TOKEN", TOKEN)
    monkeypatch.setattr("aquin_nb.sync.spool.network", lambda folder: "nfs4")


def test_no_memory_and_no_log_is_shared_beside_the_file(tmp_path):
    with Outbox(tmp_path) as outbox:
        assert [outbox.log("card.progress", CARD, POINT) for _ in range(3)] == [1, 2, 3]
        assert not [path.name for path in tmp_path.iterdir() if path.suffix.endswith(("-shm", "-wal"))]
        writer = outbox._journal.spool._writer
        assert (writer.pragma("locking_mode"), writer.pragma("journal_mode")) == ("exclusive", "delete")


def test_everything_arrives_once_and_in_order_from_several_threads_and_a_fork(tmp_path, board):
    history, lock = History(stored=board.stored), threading.Lock()

    def work(card):
        for _ in range(50):
            sequence = outbox.log("card.progress", card, POINT)
            with lock:
                history.tell(outbox.source, sequence, POINT)

    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        threads = [threading.Thread(target=work, args=(f"card {i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        child = os.fork()
        if child == 0:
            os._exit(0 if outbox.log("card.progress", CARD, POINT) == 1 and outbox.flush(10) else 1)
        for thread in threads:
            thread.join()
        assert os.waitpid(child, 0)[1] == 0
        assert outbox.flush(10)
    assert len(board.stored) == 151
    history.stored = [event for event in board.stored if event["subject"] != CARD]
    history.judge()


def test_what_a_killed_process_told_is_delivered(tmp_path, board):
    code = """
import sys
import aquin_nb.sync.spool as spool
spool.network = lambda folder: "nfs4"
from aquin_nb.sync import Outbox
outbox = Outbox(sys.argv[1])
while True:
    print(outbox.source, outbox.log("card.progress", "a card", {}), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    told = [process.stdout.readline() for _ in range(30)]
    assert main(["sync", "--outbox", str(tmp_path), "--url", board.url, "--wait", "0.2"]) == 1  # it lives
    os.kill(process.pid, signal.SIGKILL)
    told += process.stdout.read().splitlines()
    process.wait(10)
    assert main(["sync", "--outbox", str(tmp_path), "--url", board.url, "--wait", "10"]) == 0
    stored = {f"{event['source']} {event['sequence']}" for event in board.stored}
    assert {line.strip() for line in told if len(line.split()) == 2} - stored <= {told[-1]}  # the last line may be torn
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_left_is_delivered_by_hand_alone(tmp_path, board):
    outbox = Outbox(tmp_path)
    outbox.log("card.progress", CARD, POINT)
    outbox.close()
    (path,) = tmp_path.glob("*.outbox")
    spool = Spool.open(path)
    spool._writer.execute("UPDATE about SET value = 'node12' WHERE name = 'host'")
    spool.close()
    with Outbox(tmp_path, board.url, TOKEN) as other:
        other.log("card.progress", CARD, POINT)
        assert other.flush(10)
        other._sender.adoption.begin()
        other._sender.adoption._thread.join(10)
        assert "1 other outbox waits for `aquin-nb sync` (left by node12)" in str(other.status())
    assert main(["sync", "--outbox", str(tmp_path), "--url", board.url, "--wait", "10"]) == 0
    assert len(board.stored) == 2


def test_a_process_is_not_given_a_lease_that_it_holds(tmp_path, monkeypatch):
    monkeypatch.setattr("aquin_nb.sync.lease._lock", lambda handle: None)  # as where locks are those of the process
    lease = Lease.take(tmp_path / "x.lease")
    assert Lease.take(tmp_path / "x.lease") is None
    lease.release()
    assert Lease.take(tmp_path / "x.lease") is not None


def test_a_file_system_without_locks_is_said_to_take_nothing_and_events_are_sent_from_memory(
    tmp_path, board, monkeypatch
):
    def lock(handle):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("aquin_nb.sync.lease._lock", lock)
    with Outbox(tmp_path, board.url, TOKEN) as outbox:
        assert outbox.log("card.progress", CARD, POINT) == 0
        assert "takes nothing" in outbox.status().problem
        assert "Function not implemented" in outbox.status().problem
        board.wait(1)


MOUNTS = r"""
22 1 253:0 / / rw,relatime - ext4 /dev/vda rw
31 22 0:40 / /home rw - nfs4 server:/home rw
32 31 0:41 / /home/ada/scratch\040disk rw shared:1 - lustre mds@tcp:/x rw
33 22 0:42 / /home/ada/local rw - xfs /dev/vdb rw
34 22 0:43 / /mnt/far rw - fuse.sshfs ada@host: rw
35 22 0:44 / /windows rw - fuseblk /dev/sdb1 rw
36 22 0:45 / /twice rw - nfs server:/y rw
37 22 0:46 / /twice rw - tmpfs tmpfs rw
""".strip()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ada/.aquin/outbox", "nfs4"),
        ("/home/ada/scratch disk/x", "lustre"),
        ("/home/ada/local/x", ""),
        ("/home2", ""),
        ("/mnt/far", "fuse.sshfs"),
        ("/windows/x", ""),
        ("/twice/x", ""),
        ("/var/lib", ""),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(tmp_path, monkeypatch, folder, kind):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS, encoding="utf-8")
    monkeypatch.setattr(filesystem, "_MOUNTS", mounts)
    filesystem.network.cache_clear()
    assert filesystem.network(type(tmp_path)(folder)) == kind
    filesystem.network.cache_clear()


def test_a_person_is_told_once_which_folder_it_is_and_what_to_do(tmp_path, caplog):
    filesystem.advise.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            Outbox(tmp_path).close()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"{tmp_path} is on a network file system (nfs4)")
    assert "AQUIN_HOME" in said

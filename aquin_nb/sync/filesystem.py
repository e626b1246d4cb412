"""Whether a folder lies on a disk of this machine, where SQLite may share memory between connections, or elsewhere."""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

log = logging.getLogger("aquin_nb.sync")

_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = re.compile(
    r"nfs\d?|lustre|gpfs|beegfs|ceph|cifs|smb\w*|9p|afs|glusterfs|orangefs|pvfs2|wekafs|panfs|virtiofs|fuse(\..*)?"
)


@cache
def network(folder: Path) -> str:
    """The file system of a folder when it is of a network or of a program (nfs4, lustre, fuse.sshfs), else ''.

    Known on Linux alone; elsewhere '', which is what a local disk gives.
    """
    path, found, longest = str(folder.absolute().resolve()), "", -1
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        place, _, kind = line.partition(" - ")
        fields, kinds = place.split(" "), kind.split(" ")
        if len(fields) < 5:
            continue
        mount = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields[4])
        # Of two mounts at one place the later one is seen.
        if len(mount) >= longest and (path == mount or path.startswith(mount.rstrip("/") + "/")):
            found, longest = kinds[0], len(mount)
    return found if _REMOTE.fullmatch(found) else ""


@cache
def advise(folder: Path, kind: str) -> None:
    """Say once what such a folder costs."""
    log.warning(
        "%s is on a network file system (%s): every event waits for it there, and its locks may not hold between"
        " machines. Better set AQUIN_HOME to a folder on a local disk, or give the session an outbox on one:"
        " Session(..., orchestrator=aquin_nb.sync.Outbox(FOLDER, URL, TOKEN)).",
        folder,
        kind,
    )

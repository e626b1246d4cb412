"""For the reference: `>>>` lines of our docstrings become code, and whatever stands bare under Raises stays text."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

SKIP = re.compile(r"\s*# doctest: \+SKIP\s*$")


class Examples(Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _rewritten(obj.docstring.value)


def _rewritten(text: str) -> str:
    kept: list[str] = []
    code = False
    lines = text.splitlines()
    for at, line in enumerate(lines):
        example = line.startswith((">>> ", "... ")) or (code and line != "" and not line.startswith(" "))
        if example != code:
            kept += ["```python"] if example else ["```"]
            code = example
        if example and line.startswith((">>> ", "... ")):
            kept.append(SKIP.sub("", line[4:]))
        elif example:
            kept.append(f"# {line}")
        elif line.strip() == "Raises:" and not _pairs(lines, at):
            kept.append("**Raises** " + " ".join(part.strip() for part in _below(lines, at)))
        elif kept and _under_bare_raises(lines, at):
            continue
        else:
            kept.append(line)
    return "\n".join([*kept, "```"] if code else kept)


def _below(lines: list[str], at: int) -> list[str]:
    """The indented lines after a heading."""
    found = []
    for line in lines[at + 1 :]:
        if not line.startswith(" "):
            break
        found.append(line)
    return found


def _pairs(lines: list[str], at: int) -> bool:
    """Whether each entry under a heading is `Name: when`; ours are sometimes names alone, or several a line."""
    below = _below(lines, at)
    return bool(below) and all(re.match(r"^ {4}\w+: ", line) for line in below if re.match(r"^ {4}\S", line))


def _under_bare_raises(lines: list[str], at: int) -> bool:
    if not lines[at].startswith(" "):
        return False
    head = at
    while head >= 0 and lines[head].startswith(" "):
        head -= 1
    return head >= 0 and lines[head].strip() == "Raises:" and not _pairs(lines, head)

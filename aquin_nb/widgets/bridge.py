"""Joins results in this kernel with their views in HTML outputs: one undisplayed widget a kernel.

A finished result is HTML, because a widget without its kernel shows nothing. So that it can still ask for what it does
not hold, this widget registers itself on every page that is connected to the kernel, and the views find it there. Front
ends that give each output a page of its own (Colab) do not see it; there `result.widget()` does the same.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from typing import Any, ClassVar, Final, NamedTuple

import traitlets as t

from .base import AquinWidget
from .desk import Desk, Served

HELD: Final = 64
"""Results whose views are answered; the one shown longest ago goes first."""


class Address(NamedTuple):
    """Where a view on a page finds its result."""

    kernel: str
    view: str


class Bridge(AquinWidget):
    """Never displayed. `serve` gives a result an address, under which it is asked and tells its views what changes."""

    bundle_name: ClassVar[str] = "bridge.js"

    key = t.Unicode().tag(sync=True)
    """Names this kernel's life: views of an earlier one do not find it."""

    def __init__(self) -> None:
        super().__init__(key=uuid.uuid4().hex)
        self._guard = threading.Lock()
        self._held: OrderedDict[str, Served] = OrderedDict()
        self._stops: dict[str, Any] = {}
        self._desk = Desk(self.send, self._find, self.fail)
        self.on_msg(lambda _widget, content, _buffers: self._desk.receive(content))

    def serve(self, served: Served) -> Address:
        """Answer for this result until `HELD` others were shown; the same one keeps its address."""
        with self._guard:
            for view, held in self._held.items():
                if held is served:
                    self._held.move_to_end(view)
                    return Address(self.key, view)
            view = uuid.uuid4().hex
            self._held[view] = served
            self._stops[view] = served.attach(lambda topic, data: self._desk.push(view, topic, data))
            while len(self._held) > HELD:
                old, _ = self._held.popitem(last=False)
                self._stops.pop(old)()
                self._desk.forget(old)
        return Address(self.key, view)

    def fallback_html(self) -> str:
        return ""

    def close(self) -> None:
        if hasattr(self, "_desk"):
            self._desk.close()
        super().close()

    def _find(self, view: str) -> Served | None:
        with self._guard:
            return self._held.get(view)


_making = threading.Lock()
_bridge: Bridge | None = None


def bridge() -> Bridge | None:
    """The bridge of this kernel; None where no front end can hear (a script, a terminal)."""
    global _bridge
    if not in_kernel():
        return None
    with _making:
        if _bridge is None or _bridge.comm is None:
            _bridge = Bridge()
        return _bridge


def in_kernel() -> bool:
    """Whether a front end may be listening on comms: an ipykernel, not a plain IPython terminal."""
    import sys

    if "IPython" not in sys.modules:  # nobody imports it for us in a script
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None

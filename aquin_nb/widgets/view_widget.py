"""A result's view as an ordinary widget: for front ends whose HTML outputs cannot reach a kernel (marimo, Colab)."""

from __future__ import annotations

from typing import Any

import traitlets as t

from .base import AquinWidget
from .desk import Desk, Served
from .pack import embed


class ViewWidget(AquinWidget):
    """The same view, with the kernel behind it. In Jupyter show the result itself: its output outlives the kernel.

    Args:
        kind: of the view, as in `view-<kind>.js`.
        data: what is embedded in the page.
        served: what answers.
        fallback: script-free HTML for readers without a kernel.
    """

    data = t.Dict().tag(sync=True)

    def __init__(self, kind: str, data: dict[str, Any], served: Served, fallback: str) -> None:
        self._fallback = fallback
        self._bundle_of_kind = f"view-{kind}.js"
        super().__init__(data=embed(data))
        self._desk = Desk(self.send, lambda _view: served, self.fail)
        self._stop = served.selections.listen(
            lambda chosen: self._desk.push("", f"select:{chosen.of}", chosen.as_json())
        )
        self.on_msg(lambda _widget, content, _buffers: self._desk.receive(content))

    @t.default("_esm")
    def _read_bundle(self) -> str:
        from .assets import bundle

        return bundle(self._bundle_of_kind)

    def fallback_html(self) -> str:
        return self._fallback

    def close(self) -> None:
        if hasattr(self, "_desk"):
            self._stop()
            self._desk.close()
        super().close()

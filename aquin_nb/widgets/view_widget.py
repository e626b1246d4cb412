"""A result's view as an ordinary widget: for front ends whose HTML outputs cannot reach a kernel (marimo, Colab)."""

from __future__ import annotations

from typing import Any, Final

import traitlets as t

from .base import AquinWidget
from .desk import Desk, Served
from .pack import embed

# Unpacked while the model is made, not at the top level: what imports the module must not wait for it.
_LOADER: Final = """
export default async () => {
  const bytes = Uint8Array.from(atob("PACKED"), (one) => one.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  const code = await new Response(stream).blob();
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  try {
    return (await import(address)).default();
  } finally {
    URL.revokeObjectURL(address);
  }
};
"""


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
        self._stop = served.attach(lambda topic, data: self._desk.push("", topic, data))
        self.on_msg(lambda _widget, content, _buffers: self._desk.receive(content))

    @t.default("_esm")
    def _read_bundle(self) -> str:
        from .assets import packed

        return _LOADER.replace("PACKED", packed(self._bundle_of_kind))

    def fallback_html(self) -> str:
        return self._fallback

    def close(self) -> None:
        if hasattr(self, "_desk"):
            self._stop()
            self._desk.close()
        super().close()

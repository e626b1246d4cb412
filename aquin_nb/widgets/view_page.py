"""The interactive view of a result as HTML: snapshot, data, and the bundle that puts the view in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .assets import packed
from .pack import embed
from .text import esc, script_json

if TYPE_CHECKING:
    from .bridge import Address

# As a script of the page and not as a blob that is imported: where this runs, scripts in the page are allowed.
_LOADER: Final = """
const bytes = Uint8Array.from(atob("PACKED"), (one) => one.charCodeAt(0));
const text = new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
text.then((code) => {
  const script = document.createElement("script");
  script.type = "module";
  script.textContent = code;
  document.head.append(script);
  script.remove();
}, (error) => console.error("aquin-nb: this result stays static", error));
"""


def view_html(kind: str, data: dict[str, Any], static: str, address: Address | None = None) -> str:
    """HTML that needs no network, and no kernel for what `data` holds.

    Args:
        kind: of the view; its bundle is `view-<kind>.js`.
        data: JSON values and numpy arrays, as the view's TypeScript half declares them.
        static: what is shown where no script may run.
        address: where the view can ask for more, see `bridge`.

    Raises:
        MissingBundle: the front end was not built.
    """
    place = f' data-aquin-kernel="{esc(address.kernel)}" data-aquin-view="{esc(address.view)}"' if address else ""
    embedded = f'<script type="application/json">{script_json(embed(data))}</script>'
    loader = _LOADER.replace("PACKED", packed(f"view-{kind}.js"))
    return f'<div data-aquin="{esc(kind)}"{place}>{static}{embedded}</div><script type="module">{loader}</script>'

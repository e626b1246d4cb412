"""The interactive view of a result as HTML: snapshot, data, and the bundle that puts the view in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .assets import bundle
from .pack import embed
from .text import esc, script_json

if TYPE_CHECKING:
    from .bridge import Address


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
    # The bundle's own text must not end its element either; "<\/" means the same in every JavaScript string.
    code = bundle(f"view-{kind}.js").replace("</script", "<\\/script")
    return f'<div data-aquin="{esc(kind)}"{place}>{static}{embedded}</div><script type="module">{code}</script>'

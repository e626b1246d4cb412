"""What a result shows in a cell: a snapshot, the interactive view, the kernel that answers it, and what is selected."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import AquinError, SelectionError

if TYPE_CHECKING:
    import pandas as pd

    from .widgets.bridge import Address
    from .widgets.desk import Handler, Served
    from .widgets.selection import Selection, Selections
    from .widgets.view_widget import ViewWidget


HINT = 'To see it where only text is shown: .save("NAME.html") writes its view as a page for any browser.'


class Frozen:
    """A script-free picture of a result: what a saved notebook shows when neither kernel nor trust is there."""

    def __init__(self, html: str, text: str) -> None:
        self.html, self.text = html, text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


class Shown(ABC):
    """Anything with a face in a cell; most are a `Result`.

    One HTML output and no widget view: a finished result needs no kernel, and a widget view without one shows its
    author nothing but "model not found" (docs/architecture.md, "Results are HTML that upgrades itself").
    """

    selects: ClassVar[tuple[str, ...]] = ()
    """What can be selected in its view: of "features", "features_b", "probes", "layers"."""

    @abstractmethod
    def summary(self) -> str:
        """One line of text; a training's has more below it."""

    @abstractmethod
    def _static(self, live: bool) -> str:
        """The snapshot, without any script unless `live`, which makes its tables sortable."""

    def _view(self) -> tuple[str, dict[str, Any]] | None:
        """Kind of the interactive view and what is embedded for it; None where the snapshot is all there is."""
        return None

    def _answers(self) -> dict[str, Handler]:
        """What the view may ask the kernel, by name."""
        return {}

    def _rows_of(self, selection: Selection) -> pd.DataFrame:
        """The rows that a selection means."""
        raise SelectionError(f"{type(self).__name__} has no rows for selected {selection.of}.")

    def html(self, *, live: bool = True) -> str:
        """The result as HTML: a script-free snapshot, which upgrades itself in place when `live`."""
        return self._page(None) if live else self._static(False)

    def freeze(self) -> Frozen:
        """The same without any script; show it as the last line of a cell that must never change."""
        return Frozen(self._static(False), self.summary())

    def widget(self) -> ViewWidget:
        """The view as an ordinary widget with the kernel behind it, for marimo and Colab.

        In Jupyter show the result itself: its output outlives the kernel.

        Raises:
            SelectionError: there is no interactive view.

        >>> mo.ui.anywidget(alignment.widget())       # doctest: +SKIP
        """
        from .widgets.view_widget import ViewWidget

        view = self._view()
        if view is None:
            raise SelectionError(f"{type(self).__name__} has no interactive view; show the result itself.")
        return ViewWidget(*view, self._served, self._static(False))

    @property
    def selection(self) -> Selection:
        """What a person selected last: `.of` says of what, `.ids` which.

        Raises:
            SelectionError: nothing can be selected in this result.
        """
        return self._selections.last

    @property
    def selected(self) -> pd.DataFrame:
        """The rows that are selected, of the main table or the other side's; empty while nothing is.

        Raises:
            SelectionError: nothing can be selected in this result.

        >>> alignment.selected[["feature", "cosine"]]   # doctest: +SKIP
        """
        return self._rows_of(self.selection)

    def select(self, ids: Iterable[int], of: str | None = None) -> None:
        """Select in every view of this result and of those linked with it.

        Args:
            ids: numbers of features, probes or layers.
            of: which of `selects`; by default its first.

        Raises:
            SelectionError: nothing of that kind can be selected here.

        >>> alignment.select([17, 4])                 # doctest: +SKIP
        """
        from .widgets.selection import Selection

        kind = of or (self.selects[0] if self.selects else "")
        self._selections.set(Selection(kind, tuple(int(one) for one in ids)))

    def on_select(self, callback: Callable[[Selection], Any]) -> Callable[[], None]:
        """Call `callback(selection)` after every change, on the thread that brought it; returns what stops it."""
        return self._selections.listen(callback)

    async def next_selection(self) -> Selection:
        """Wait for the next thing that is selected.

        >>> chosen = await alignment.next_selection()   # doctest: +SKIP
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Selection] = loop.create_future()

        def settle(selection: Selection) -> None:
            if not found.done():
                found.set_result(selection)

        stop = self.on_select(lambda selection: loop.call_soon_threadsafe(settle, selection))
        try:
            return await found
        finally:
            stop()

    @cached_property
    def _selections(self) -> Selections:
        from .widgets.selection import Selections

        return Selections(self.selects)

    @cached_property
    def _served(self) -> Served:
        from .widgets.desk import Served

        return Served(self._answers(), self._selections)

    def _page(self, address: Address | None) -> str:
        from .widgets.view_page import view_html

        try:
            view = self._view()
        except AquinError as error:
            return self._static(True) + _refusal(error)
        return self._static(True) if view is None else view_html(*view, self._static(False), address)

    def __repr__(self) -> str:
        return self.summary()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        text = self.summary()
        if hasattr(self, "save"):
            text += f"\n{HINT}"
        if _only_text():
            return {"text/plain": text}
        return {"text/plain": text, "text/html": self._html_here()}

    def _html_here(self) -> str:
        """As HTML whose view finds this kernel, where there is one."""
        from .widgets.bridge import bridge

        kernel = bridge()
        return self._page(kernel.serve(self._served) if kernel is not None else None)


def _only_text() -> bool:
    """Whether IPython runs in a terminal, where a view would be made for nothing."""
    import sys

    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and getattr(shell, "kernel", None) is None


def link(a: Shown, b: Shown) -> Callable[[], None]:
    """Share what is selected between two results: features, probes or layers, whichever both have.

    Returns:
        A function that ends it.

    Raises:
        SelectionError: they have nothing in common that can be selected.

    >>> unlink = aquin_nb.link(diff, alignment)       # doctest: +SKIP
    """
    from .widgets import selection

    for one in (a, b):
        if not isinstance(one, Shown):
            raise SelectionError(f"link() joins results that are shown in cells, not {type(one).__name__}.")
    return selection.link(a._selections, b._selections)


def _refusal(error: AquinError) -> str:
    from .widgets.text import esc

    return f'<p style="margin:6px 2px;font-size:12px">The interactive view cannot be shown: {esc(error)}</p>'

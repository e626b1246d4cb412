"""A selection is shared by every view of a result and by linked results, and each change is told once."""

import asyncio
import threading

import pandas as pd
import pytest

import aquin_nb
from aquin_nb.errors import SelectionError
from aquin_nb.showing import Shown
from aquin_nb.widgets.selection import LIMIT, Selection, Selections


class Table(Shown):
    selects = ("features", "probes")

    def summary(self):
        return "a table"

    def _static(self, live):
        return "<p>a table</p>"

    def _rows_of(self, selection):
        return pd.DataFrame({selection.of: selection.ids})


class Probes(Table):
    selects = ("probes",)


class Mute(Table):
    selects = ()


def test_selected_rows_follow_what_was_selected_last():
    table = Table()
    assert table.selected.empty
    table.select([4, 2])
    assert table.selected["features"].tolist() == [4, 2]
    table.select([7], of="probes")
    assert table.selection == Selection("probes", (7,))
    assert table.selected["probes"].tolist() == [7]


def test_linked_results_share_what_both_have_and_are_told_once():
    table, probes, heard = Table(), Probes(), []
    table.select([1], of="probes")
    unlink = aquin_nb.link(table, probes)
    assert probes.selection.ids == (1,)
    stop = table.on_select(heard.append)
    probes.select([5, 6])
    table.select([9], of="features")
    assert table.selected["features"].tolist() == [9]
    assert probes.selection.ids == (5, 6)
    assert heard == [Selection("probes", (5, 6)), Selection("features", (9,))]
    unlink()
    stop()
    probes.select([8])
    assert table._selections.get("probes").ids == (5, 6)
    assert len(heard) == 2


def test_a_ring_of_links_ends():
    tables = [Table() for _ in range(3)]
    for at in range(3):
        aquin_nb.link(tables[at], tables[(at + 1) % 3])
    tables[0].select([3])
    assert [table.selection.ids for table in tables] == [(3,)] * 3


def test_what_cannot_be_selected_is_said():
    with pytest.raises(SelectionError, match="no 'layers' to select"):
        Table().select([1], of="layers")
    with pytest.raises(SelectionError, match="Nothing can be selected"):
        _ = Mute().selection
    with pytest.raises(SelectionError, match="nothing to link"):
        aquin_nb.link(Mute(), Table())
    with pytest.raises(SelectionError, match="not int"):
        aquin_nb.link(Table(), 3)
    with pytest.raises(SelectionError, match="At most"):
        Selections(("probes",)).set(Selection("probes", tuple(range(LIMIT + 1))))


def test_the_next_selection_can_be_awaited_from_another_thread():
    table = Table()

    async def wait():
        threading.Timer(0.05, lambda: table.select([11])).start()
        return await asyncio.wait_for(table.next_selection(), 10)

    assert asyncio.run(wait()) == Selection("features", (11,))
    assert table._selections._listeners == []

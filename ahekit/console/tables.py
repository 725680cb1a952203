"""Tables that fit the terminal without cutting a number."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.table import Table as RichTable
from rich.text import Text

from ahekit.console.output import OUTPUT
from ahekit.sections import Table, format_cell
from ahekit.wording import plain

_CELL_GAP = 2  # between two cells
_LONGEST_WHOLE = 60  # names of runs and files, which people copy, stay whole; longer words (deep paths) are broken …
_NARROWEST_BROKEN = 24  # … into lines of at least so many characters


def show_table(table: Table) -> None:
    """Title, table and note. Numbers are never cut: headers wrap, and a table still too wide goes on below."""
    if OUTPUT.quiet:
        return
    console = OUTPUT.people
    if table.title:
        console.print(Text(plain(table.title), style="bold"), soft_wrap=True)
    cells = [
        [plain(format_cell(cell, column)) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    for number, block in enumerate(_blocks(table, cells, console.width)):
        if number:
            console.print()
        console.print(_rich_table(table, cells, block))
    for line in table.note.splitlines():
        console.print(Text(plain(line), style="dim"))
    console.print()


def _blocks(table: Table, cells: Sequence[Sequence[str]], width: int) -> list[list[tuple[int, int]]]:
    """Columns that stand side by side, each with its width; the first one is repeated in every block."""
    needs = [_needs(table, cells, place) for place in range(len(table.columns))]
    blocks: list[list[int]] = [[]]
    for place, (least, _) in enumerate(needs):
        taken = sum(needs[used][0] + _CELL_GAP for used in blocks[-1])
        if len(blocks[-1]) > 1 and taken + least > width:
            blocks.append([0])
        blocks[-1].append(place)
    return [list(zip(block, _shares([needs[place] for place in block], width), strict=True)) for block in blocks]


def _needs(table: Table, cells: Sequence[Sequence[str]], place: int) -> tuple[int, int]:
    """The narrowest a column can be without cutting a number or a word, and the width that wraps nothing."""
    column = table.columns[place]
    lines = [row[place] for row in cells]
    longest = max(map(cell_len, lines), default=1)
    known = [row[place] for row in table.rows if row[place] is not None]
    numbers = column.align == "right" or all(isinstance(cell, int | float) for cell in known)
    lengths = [cell_len(word) for line in lines for word in line.split()]
    words = max((length if length <= _LONGEST_WHOLE else _NARROWEST_BROKEN for length in lengths), default=1)
    header = max(map(cell_len, column.name.split()), default=1)
    least = max(header, longest if numbers else words)
    return least, max(longest, cell_len(column.name))


def _shares(needs: Sequence[tuple[int, int]], width: int) -> list[int]:
    """Every column gets what it needs; of what is left the first, the rows' names, is served before the others."""
    spare = max(width - sum(least + _CELL_GAP for least, _ in needs) + _CELL_GAP, 0)
    wishes = [full - least for least, full in needs]
    first = min(wishes[0], spare // 2 if wishes[1:] else spare)
    share = min((spare - first) / max(sum(wishes[1:]), 1), 1.0)
    extras = [first, *(int(wish * share) for wish in wishes[1:])]
    return [least + extra for (least, _), extra in zip(needs, extras, strict=True)]


def _rich_table(table: Table, cells: Sequence[Sequence[str]], block: Sequence[tuple[int, int]]) -> RichTable:
    named = any(table.columns[place].name for place, _ in block)
    shown = RichTable(box=box.SIMPLE_HEAD, show_header=named, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, width in block:
        column = table.columns[place]
        shown.add_column(Text(plain(column.name)), justify=column.align, width=width, overflow="fold")
    for row in cells:
        shown.add_row(*(Text(row[place]) for place, _ in block))
    return shown

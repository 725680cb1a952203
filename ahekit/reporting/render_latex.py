"""A report's tables in LaTeX, to be taken into a paper; they need the package booktabs."""

from __future__ import annotations

from ahekit.reporting.build import Report
from ahekit.sections import Table, format_cell
from ahekit.wording import plain

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "–": "--",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def render_latex(report: Report) -> str:
    """All tables, each in a table environment with its title as caption and its note below."""
    head = [f"% {plain(report.title)}", *([f"% {plain(report.caveat)}"] if report.caveat else [])]
    head.append("% \\usepackage{booktabs}")
    tables = [
        _table(table, f"{section.name}-{number}")
        for section in report.sections
        for number, table in enumerate(section.tables, start=1)
    ]
    return "\n\n".join(["\n".join(head), *tables]) + "\n"


def _table(table: Table, label: str) -> str:
    alignment = "".join("r" if column.align == "right" else "l" for column in table.columns)
    body = [_row([column.name for column in table.columns]), r"\midrule"]
    for number, row in enumerate(table.rows):
        if table.totals and number == len(table.rows) - table.totals:
            body.append(r"\midrule")
        body.append(_row([format_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)]))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_text(table.title)}}}",
        rf"\label{{tab:{''.join(mark for mark in label if mark.isalnum() or mark in '-.')}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\footnotesize {_text(table.note)}"] if table.note else []),
        r"\end{table}",
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return " & ".join(map(_text, cells)) + r" \\"


def _text(text: str) -> str:
    return "".join(_SPECIAL.get(mark, mark) for mark in plain(" ".join(text.split())))

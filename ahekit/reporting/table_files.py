"""A table as a file for other programs: CSV with every digit, LaTeX as a paper prints it."""

from __future__ import annotations

import csv
import io

from ahekit.sections import Table, format_cell

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "–": "--",
        "−": "$-$",
        "→": r"$\rightarrow$",
        "±": r"$\pm$",
        "×": r"$\times$",
    }
)


def csv_of(table: Table) -> bytes:
    """The cells as they are, unrounded, below the names of the columns; empty where there is nothing."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(column.name for column in table.columns)
    for row in table.rows:
        writer.writerow("" if cell is None or cell != cell else cell for cell in row)
    return text.getvalue().encode()


def latex_of(table: Table) -> bytes:
    r"""A `table` environment in the style of the package booktabs, with the title for its caption.

    Cells are rounded as everywhere else. Letters beyond ASCII need a font that has them, as with XeLaTeX or LuaLaTeX.
    """
    alignment = "".join("r" if column.align == "right" else "l" for column in table.columns)
    lines = [
        "% needs \\usepackage{booktabs}",
        r"\begin{table}",
        rf"  \caption{{{table.title.translate(_LATEX)}}}",
        rf"  \begin{{tabular}}{{{alignment}}}",
        r"    \toprule",
        _latex_row([column.name for column in table.columns]),
        r"    \midrule",
        *(
            _latex_row([format_cell(cell, column) for cell, column in zip(row, table.columns, strict=True)])
            for row in table.rows
        ),
        r"    \bottomrule",
        r"  \end{tabular}",
        *([rf"  \par\smallskip {table.note.translate(_LATEX)}"] if table.note else []),
        r"\end{table}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _latex_row(cells: list[str]) -> str:
    return "    " + " & ".join(" ".join(cell.split()).translate(_LATEX) for cell in cells) + r" \\"

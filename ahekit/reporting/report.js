"use strict";
// Tables sort by a click on a column's head, or Enter on it: numbers from the largest, words from A, dashes last.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(body, heads, head, column));
  });
}

function sort(body, heads, head, column) {
  const rows = [...body.rows];
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const filled = rows.map(value).filter((text) => text !== "–");
  const numeric = filled.every((text) => text !== "" && Number.isFinite(Number(text)));
  const now = head.getAttribute("aria-sort") ?? (numeric ? "ascending" : "descending");
  const sign = now === "ascending" ? -1 : 1;
  rows.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "–" || b === "–") return (a === "–") - (b === "–");
    return sign * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  });
  heads.forEach((each) => each.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  body.append(...rows);
}

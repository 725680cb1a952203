"use strict";
// Tables sort by a click on a column's head, or Enter on it: numbers from the largest, words from A, dashes last.
// A table's heads are one stop of the Tab key; the arrow keys go from one to the next.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  const buttons = heads.map((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort";
    button.tabIndex = column === 0 ? 0 : -1;
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(body, heads, head, column));
    return button;
  });
  table.tHead.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const now = buttons.indexOf(document.activeElement);
    if (step === undefined || now < 0) return;
    const next = buttons[(now + step + buttons.length) % buttons.length];
    buttons.forEach((button) => { button.tabIndex = button === next ? 0 : -1; });
    next.focus();
    event.preventDefault();
  });
}

// What doesn't fit is moved with the arrow keys, and so has to be reached by Tab; what fits hasn't.
function reachable() {
  for (const box of document.querySelectorAll(".scroll, figure.wide")) {
    const overflows = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (overflows) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}
reachable();
addEventListener("resize", reachable);

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

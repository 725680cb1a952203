// A small picture, moved and spoilt by hand, and what each pooling of 2×2 makes of it.
const size = 8;
const half = size / 2;
const white = 9;
const state = { shift: 0, spoilt: null };

// A bright stroke across a darker ground; it goes on beyond the picture's edge, so that moving brings in nothing odd.
const value = (y, x) => (Math.abs(x - y - 1) < 1 ? 7 : (3 * y + 5 * x + 40) % 3);
const picture = (shift, spoilt) =>
  Array.from({ length: size }, (_, y) =>
    Array.from({ length: size }, (_, x) => (spoilt && spoilt[0] === y && spoilt[1] === x ? white : value(y, x - shift))));

const pooled = (X, combine) =>
  Array.from({ length: half }, (_, y) =>
    Array.from({ length: half }, (_, x) => combine(X[2 * y][2 * x], X[2 * y][2 * x + 1], X[2 * y + 1][2 * x], X[2 * y + 1][2 * x + 1])));
const mean = (...values) => values.reduce((sum, each) => sum + each, 0) / values.length;
const blurred = (X) => {
  const count = size - 1;
  const dense = Array.from({ length: count }, (_, y) =>
    Array.from({ length: count }, (_, x) => Math.max(X[y][x], X[y][x + 1], X[y + 1][x], X[y + 1][x + 1])));
  const near = Array.from({ length: size }, (_, y) =>
    Array.from({ length: size }, (_, x) => {
      const rows = [y - 1, y].filter((each) => each >= 0 && each < count);
      const columns = [x - 1, x].filter((each) => each >= 0 && each < count);
      return mean(...rows.flatMap((row) => columns.map((column) => dense[row][column])));
    }));
  return pooled(near, mean);
};
const poolings = {
  max: (X) => pooled(X, Math.max),
  average: (X) => pooled(X, mean),
  "every second pixel": (X) => pooled(X, (first) => first),
  blur: blurred,
};

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const words = (number) => String(Math.round(number * 100) / 100);
const number = element("output", { textContent: "0" });
const slider = element("input", { type: "range", min: 0, max: 4, value: 0, name: "shift" });
slider.addEventListener("input", () => { state.shift = Number(slider.value); number.textContent = slider.value; draw(); });
const repair = element("button", { type: "button", textContent: "Repair the value" });
repair.addEventListener("click", () => { state.spoilt = null; draw(); });
const tables = element("div", { className: "sums" });
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");

const grid = (name, values, title, before, choose) => {
  const table = element("table", { className: "grid small" });
  table.dataset.grid = name;
  values.forEach((row, y) => {
    const line = table.insertRow();
    row.forEach((each, x) => {
      const cell = line.insertCell();
      cell.textContent = words(each);
      cell.dataset.value = each;
      if (Math.abs(each - before[y][x]) > 1e-9) cell.className = "met";
      if (choose) {
        cell.tabIndex = 0;
        cell.setAttribute("role", "button");
        cell.setAttribute("aria-label", `row ${y + 1}, column ${x + 1}: ${words(each)}, spoil`);
        cell.addEventListener("click", () => choose(y, x));
        cell.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          choose(y, x);
        });
      }
    });
  });
  return element("div", {}, element("p", { textContent: title }), element("div", { className: "scroller" }, table));
};

function spoil(y, x) {
  state.spoilt = [y, x];
  draw();
  tables.querySelectorAll('table[data-grid="picture"] td')[y * size + x].focus();
}

function draw() {
  const start = picture(0, null);
  const X = picture(state.shift, state.spoilt);
  const parts = [grid("picture", X, "picture", start, spoil)];
  const told = [];
  for (const [name, pool] of Object.entries(poolings)) {
    const before = pool(start);
    const after = pool(X);
    const changes = after.flatMap((row, y) => row.map((each, x) => Math.abs(each - before[y][x])));
    const count = changes.filter((each) => each > 1e-9).length;
    parts.push(grid(name, after, name, before));
    told.push(`${name}: ${count} of ${changes.length} values change, by ${words(mean(...changes))} in the mean`);
  }
  tables.replaceChildren(...parts);
  result.textContent = state.shift || state.spoilt ? `${told.join("; ")}.` : "Nothing is moved or spoilt yet.";
  repair.disabled = !state.spoilt;
}
root.append(element("div", { className: "controls" }, element("label", {}, "move right", slider, number), repair), tables, result);
draw();

// A convolution of whole numbers: what stride, padding and dilation make of dY, dK and dX.
const size = 6;
const kernel = 3;
const X = Array.from({ length: size }, (_, y) => Array.from({ length: size }, (_, x) => ((3 * y + 5 * x) % 7) - 2));
const K = [[1, 0, -1], [2, 1, -2], [0, 3, 1]];
const state = { stride: 1, padding: 0, dilation: 1 };
const limits = { stride: [1, 3], padding: [0, 3], dilation: [1, 2] };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const controls = element("div", { className: "controls" });
const tables = element("div", { className: "sums" });
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");
for (const [name, [least, most]] of Object.entries(limits)) {
  const number = element("output", { textContent: state[name] });
  const slider = element("input", { type: "range", min: least, max: most, value: state[name], name });
  slider.addEventListener("input", () => { state[name] = Number(slider.value); number.textContent = slider.value; draw(); });
  controls.append(element("label", {}, name, slider, number));
}

const zeros = (height, width) => Array.from({ length: height }, () => Array(width).fill(0));
const grid = (name, values, title) => {
  const table = element("table", { className: "grid small" });
  table.dataset.grid = name;
  for (const row of values) {
    const line = table.insertRow();
    for (const value of row) {
      const cell = line.insertCell();
      cell.textContent = String(value).replace("-", "−");
      cell.dataset.value = value;
      if (value === 0) cell.className = "zero";
    }
  }
  return element("div", {}, element("p", { textContent: title }), element("div", { className: "scroller" }, table));
};

function draw() {
  const { stride, padding, dilation } = state;
  const reach = dilation * (kernel - 1);
  const count = Math.floor((size + 2 * padding - reach - 1) / stride) + 1;
  const pixel = (y, x) => (y >= 0 && x >= 0 && y < size && x < size ? X[y][x] : 0);
  const Y = zeros(count, count);
  const dY = zeros(count, count);
  const dK = zeros(kernel, kernel);
  const dX = zeros(size, size);
  const around = zeros(size + reach, size + reach);
  for (let y = 0; y < count; y++) {
    for (let x = 0; x < count; x++) {
      dY[y][x] = ((2 * y + 3 * x) % 5) - 2;
      const [v, u] = [y * stride + reach - padding, x * stride + reach - padding];
      if (v >= 0 && u >= 0 && v < size + reach && u < size + reach) around[v][u] = dY[y][x];
      for (let i = 0; i < kernel; i++) {
        for (let j = 0; j < kernel; j++) {
          const met = pixel(y * stride + i * dilation - padding, x * stride + j * dilation - padding);
          Y[y][x] += K[i][j] * met;
          dK[i][j] += dY[y][x] * met;
        }
      }
    }
  }
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      for (let i = 0; i < kernel; i++) {
        for (let j = 0; j < kernel; j++) dX[y][x] += around[y + i * dilation][x + j * dilation] * K[kernel - 1 - i][kernel - 1 - j];
      }
    }
  }
  tables.replaceChildren(
    grid("X", X, "input X"),
    grid("K", K, "kernel K"),
    grid("Y", Y, `output Y, ${count}×${count}`),
    grid("dY", dY, "its gradient dY (given)"),
    grid("around", around, "dY as dX sees it"),
    grid("turned", K.map((row) => [...row].reverse()).reverse(), "K turned by 180°"),
    grid("dK", dK, "dK"),
    grid("dX", dX, "dX"),
  );
  const rest = (size + 2 * padding - reach - 1) % stride;
  const zerosAround = reach - padding;
  result.textContent =
    `Around dY stand ${zerosAround} rows of zeros (D·(K − 1) − P = ${dilation}·2 − ${padding})` +
    (stride > 1 ? `, between its rows ${stride - 1}` : "") +
    (rest ? `; ${rest} more at the end, for rows that no window reached.` : ".");
}
root.append(controls, tables, result);
draw();

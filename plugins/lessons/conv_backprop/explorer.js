// One layer's forward and backward pass: maps to point at, and the sums behind the place that is pointed at.
const array = ({ shape, data: text }) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const values = new Float32Array(bytes.buffer);
  const at = (...index) => values[index.reduce((place, each, axis) => place * shape[axis] + each, 0)];
  return { shape, at };
};
const X = array(data.input);
const dX = array(data.inputGradient);
const K = array(data.kernels);
const dK = array(data.kernelGradients);
const B = array(data.biases);
const dB = array(data.biasGradients);
const Y = array(data.output);
const dY = array(data.outputGradient);
const [channels, height, width] = X.shape;
const [, depth, rows, columns] = K.shape;
const [, high, wide] = Y.shape;
const [strideY, strideX] = data.stride;
const [padY, padX] = data.padding;
const [spreadY, spreadX] = data.dilation;
const state = { mode: "forward", unit: 0, channel: 0, place: [high >> 1, wide >> 1], pixel: [height >> 1, width >> 1], weight: [0, 0] };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const shown = (value) => (value === 0 ? "0" : Number(value).toPrecision(4)).replace("-", "−");
const base = () => Math.floor(data.units[state.unit] / (data.outputs / data.groups)) * depth;
const input = (channel, y, x) => (y >= 0 && x >= 0 && y < height && x < width ? X.at(channel, y, x) : 0);

const modes = { forward: "Forward: an output", weight: "Backward: a weight's gradient", input: "Backward: an input's gradient" };
const buttons = Object.entries(modes).map(([mode, text]) => {
  const button = element("button", { type: "button", textContent: text });
  button.dataset.mode = mode;
  button.addEventListener("click", () => { state.mode = mode; draw(); });
  return button;
});
const choice = (label, options, set) => {
  const select = element("select", {}, ...options.map((text, value) => element("option", { value, textContent: text })));
  select.addEventListener("change", () => { set(Number(select.value)); draw(); });
  return element("label", {}, label, select);
};
const unitChoice = choice("unit", data.units.map(String), (value) => { state.unit = value; fillChannels(); });
const channelChoice = choice("channel", [], (value) => { state.channel = value; });
function fillChannels() {
  const first = base();
  state.channel = Math.min(state.channel, depth - 1);
  channelChoice.querySelector("select").replaceChildren(
    ...Array.from({ length: depth }, (_, place) => element("option", { value: place, textContent: String(first + place), selected: place === state.channel })),
  );
}
fillChannels();

const map = (label, move) => {
  const caption = element("p");
  const canvas = element("canvas", { tabIndex: 0 });
  canvas.setAttribute("role", "img");
  canvas.dataset.map = label;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    move(Math.floor(((event.clientY - box.top) / box.height) * canvas.rows), Math.floor(((event.clientX - box.left) / box.width) * canvas.columns), true);
  };
  canvas.addEventListener("pointermove", at);
  canvas.addEventListener("pointerdown", at);
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    move(...step, false);
  });
  return { box: element("div", { className: "map" }, caption, canvas), canvas, caption };
};
const clamp = (value, size) => Math.max(0, Math.min(size - 1, value));
const left = map("input", (y, x, absolute) => {
  if (state.mode !== "input") return;
  state.pixel = absolute ? [clamp(y, height), clamp(x, width)] : [clamp(state.pixel[0] + y, height), clamp(state.pixel[1] + x, width)];
  draw();
});
const right = map("output", (y, x, absolute) => {
  if (state.mode === "input") return;
  state.place = absolute ? [clamp(y, high), clamp(x, wide)] : [clamp(state.place[0] + y, high), clamp(state.place[1] + x, wide)];
  draw();
});

function paint({ canvas, caption }, size, value, marks, text) {
  [canvas.rows, canvas.columns] = size;
  canvas.height = size[0];
  canvas.width = size[1];
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(root).getPropertyValue("--background").trim() || "#ffffff";
  const ground = [1, 3, 5].map((place) => parseInt(context.fillStyle.slice(place, place + 2), 16));
  let largest = 1e-30;
  for (let y = 0; y < size[0]; y++) for (let x = 0; x < size[1]; x++) largest = Math.max(largest, Math.abs(value(y, x)));
  const pixels = context.createImageData(size[1], size[0]);
  for (let y = 0; y < size[0]; y++) {
    for (let x = 0; x < size[1]; x++) {
      const share = value(y, x) / largest;
      const ink = share < 0 ? [213, 94, 0] : [0, 114, 178];
      const weight = Math.sqrt(Math.abs(share));
      const from = 4 * (y * size[1] + x);
      ink.forEach((part, place) => { pixels.data[from + place] = ground[place] + (part - ground[place]) * weight; });
      pixels.data[from + 3] = 255;
    }
  }
  for (const [y, x] of marks) {
    if (y < 0 || x < 0 || y >= size[0] || x >= size[1]) continue;
    const from = 4 * (y * size[1] + x);
    [240, 200, 0].forEach((part, place) => { pixels.data[from + place] = part; });
  }
  context.putImageData(pixels, 0, 0);
  caption.textContent = text;
  canvas.setAttribute("aria-label", text);
}

const grid = (name, count, cell) => {
  const table = element("table", { className: "grid" });
  table.dataset.grid = name;
  for (let i = 0; i < count[0]; i++) {
    const row = table.insertRow();
    for (let j = 0; j < count[1]; j++) {
      const { value, met = false, press = null } = cell(i, j);
      const place = row.insertCell();
      place.textContent = shown(value);
      place.dataset.value = value;
      place.className = `${met ? "met" : ""}${value === 0 ? " zero" : ""}`;
      if (press) {
        place.tabIndex = 0;
        place.addEventListener("click", press);
        place.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); } });
      }
    }
  }
  return table;
};
const part = (text, content, className = "") => element("div", { className }, element("p", { textContent: text }), element("div", { className: "scroller" }, content));
const sign = (text) => element("span", { className: "sign", textContent: text });
const sums = element("div", { className: "sums" });
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");

function say(text, own, autograd) {
  result.replaceChildren(text);
  result.dataset.own = own;
  result.dataset.autograd = autograd;
}

function forward() {
  const [y, x] = state.place;
  const channel = base() + state.channel;
  const where = (i, j) => [y * strideY + i * spreadY - padY, x * strideX + j * spreadX - padX];
  const marks = [];
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) marks.push(where(i, j));
  paint(left, [height, width], (v, u) => X.at(channel, v, u), marks, `Input X, channel ${channel}: yellow is the window`);
  paint(right, [high, wide], (v, u) => Y.at(state.unit, v, u), [state.place], `Output Y of unit ${data.units[state.unit]}: move here`);
  let whole = B.at(state.unit);
  let here = 0;
  for (let c = 0; c < depth; c++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const product = K.at(state.unit, c, i, j) * input(base() + c, ...where(i, j));
        whole += product;
        if (c === state.channel) here += product;
      }
    }
  }
  sums.replaceChildren(
    part(`window of X at row ${y}, column ${x}`, grid("window", [rows, columns], (i, j) => ({ value: input(channel, ...where(i, j)) }))),
    sign("·"),
    part("kernel K", grid("kernel", [rows, columns], (i, j) => ({ value: K.at(state.unit, state.channel, i, j) }))),
    sign("="),
    part("products", grid("products", [rows, columns], (i, j) => ({ value: K.at(state.unit, state.channel, i, j) * input(channel, ...where(i, j)) }))),
  );
  say(`Sum of this channel: ${shown(here)}. With the other channels and the bias ${shown(B.at(state.unit))}: ${shown(whole)}. The network's own Y: ${shown(Y.at(state.unit, y, x))}.`, whole, Y.at(state.unit, y, x));
}

function weight() {
  const [i, j] = state.weight;
  const [y, x] = state.place;
  const channel = base() + state.channel;
  const meets = (v, u) => [v * strideY + i * spreadY - padY, u * strideX + j * spreadX - padX];
  let whole = 0;
  let bias = 0;
  for (let v = 0; v < high; v++) {
    for (let u = 0; u < wide; u++) {
      whole += dY.at(state.unit, v, u) * input(channel, ...meets(v, u));
      bias += dY.at(state.unit, v, u);
    }
  }
  paint(left, [height, width], (v, u) => X.at(channel, v, u), [meets(y, x)], `Input X, channel ${channel}: yellow is what the weight met there`);
  paint(right, [high, wide], (v, u) => dY.at(state.unit, v, u), [state.place], `Output's gradient dY of unit ${data.units[state.unit]}: move here`);
  const met = input(channel, ...meets(y, x));
  sums.replaceChildren(
    part("kernel K: choose a weight", grid("kernel", [rows, columns], (a, b) => ({ value: K.at(state.unit, state.channel, a, b), met: a === i && b === j, press: () => { state.weight = [a, b]; draw(); } }))),
    part("its gradient dK, by autograd", grid("gradient", [rows, columns], (a, b) => ({ value: dK.at(state.unit, state.channel, a, b), met: a === i && b === j }))),
    part(`dY, X and their product: one of ${high * wide}, row ${y}, column ${x}`, grid("product", [1, 3], (a, b) => ({ value: [dY.at(state.unit, y, x), met, dY.at(state.unit, y, x) * met][b] }))),
  );
  say(`dY · X summed over all ${high * wide} places: ${shown(whole)}. Autograd's dK: ${shown(dK.at(state.unit, state.channel, i, j))}. And db, the sum of dY alone: ${shown(bias)}; autograd's: ${shown(dB.at(state.unit))}.`, whole, dK.at(state.unit, state.channel, i, j));
}

function gradient(turn) {
  const [v, u] = state.pixel;
  const channel = base() + state.channel;
  // The output place whose window had this pixel under weight (i, j); between the steps of a stride there is none.
  const place = (i, j) => {
    const down = v + padY - i * spreadY;
    const across = u + padX - j * spreadX;
    const [y, x] = [down / strideY, across / strideX];
    return Number.isInteger(y) && Number.isInteger(x) && y >= 0 && x >= 0 && y < high && x < wide ? [y, x] : null;
  };
  const value = (i, j) => { const found = place(i, j); return found ? dY.at(state.unit, ...found) : 0; };
  const marks = [];
  let here = 0;
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const found = place(i, j);
      if (found) marks.push(found);
      here += value(i, j) * K.at(state.unit, state.channel, i, j);
    }
  }
  paint(left, [height, width], (a, b) => dX.at(channel, a, b), [state.pixel], `Input's gradient dX, channel ${channel}: move here`);
  paint(right, [high, wide], (a, b) => dY.at(state.unit, a, b), marks, `Output's gradient dY of unit ${data.units[state.unit]}: yellow meets this pixel`);
  const flipped = (i, j) => [rows - 1 - i, columns - 1 - j];
  sums.replaceChildren(
    part("dY that meets it (0: none, or between the steps)", grid("window", [rows, columns], (i, j) => ({ value: value(...flipped(i, j)) }))),
    sign("·"),
    part("kernel K, turned by 180°", grid("turned", [rows, columns], (i, j) => ({ value: K.at(state.unit, state.channel, ...flipped(i, j)) })), turn ? "turning" : ""),
    sign("="),
    part("products", grid("products", [rows, columns], (i, j) => ({ value: value(...flipped(i, j)) * K.at(state.unit, state.channel, ...flipped(i, j)) }))),
  );
  const all = dX.at(channel, v, u);
  say(`This unit's part of dX at row ${v}, column ${u}: ${shown(here)}. All units together, by autograd: ${shown(all)}.`, here, all);
}

let last = "";
function draw() {
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  ({ forward, weight, input: () => gradient(last !== "input") })[state.mode]();
  last = state.mode;
}
root.append(
  element("div", { className: "controls" }, ...buttons, unitChoice, channelChoice),
  element("div", { className: "maps" }, left.box, right.box),
  sums,
  result,
);
root.explorer = { state, draw };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();

// One window of images in micro-batches: what is measured at each K, and what each divisor makes of the window's loss.
const { window: most, counts, losses, tile, perRow, measured } = data;
const state = { place: Math.min(2, counts.length - 1), images: most };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const shown = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-3 ? value.toExponential(0) : Number(value).toPrecision(4)).replaceAll("-", "−");
const sum = (values) => values.reduce((total, each) => total + each, 0);

const slider = (name, label, min, max, value, set) => {
  const number = element("output");
  const input = element("input", { type: "range", min, max, name });
  input.value = value;
  input.addEventListener("input", () => { set(Number(input.value)); draw(); });
  return { box: element("label", {}, label, input, number), number, input };
};
const cuts = slider("accumulation", "micro-batches K", 0, counts.length - 1, state.place, (value) => { state.place = value; });
const length = slider("images", "images in the window", 1, most, most, (value) => { state.images = value; });
const pieces = element("div", { className: "pieces" });
const facts = element("p", { className: "facts" });
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");

const picture = (number) => {
  const place = element("span", { className: "tile", title: `image ${number + 1}: loss ${shown(losses[number])}` });
  place.style.width = place.style.height = `${tile}px`;
  place.style.backgroundImage = `url(data:image/jpeg;base64,${data.tiles})`;
  place.style.backgroundPosition = `${-(number % perRow) * tile}px ${-Math.floor(number / perRow) * tile}px`;
  return place;
};
// Made once: every tile holds the whole sheet's address.
const tiles = losses.map((_, number) => picture(number));

function draw() {
  const count = counts[state.place];
  const size = most / count;
  cuts.number.textContent = String(count);
  cuts.input.setAttribute("aria-valuetext", `${count} micro-batches`);
  length.number.textContent = String(state.images);
  const boxes = [];
  const means = [];
  for (let piece = 0; piece < count; piece++) {
    const first = piece * size;
    const last = Math.min(first + size, state.images);
    const inside = Math.max(0, last - first);
    const part = losses.slice(first, first + inside);
    const box = element("div", { className: inside ? "piece" : "piece empty" });
    box.dataset.images = inside;
    if (inside) means.push(sum(part) / inside);
    box.append(
      element("p", { textContent: inside ? `${piece + 1}: ${inside} of ${size}, mean loss ${shown(means.at(-1))}` : `${piece + 1}: the epoch is over` }),
      element("div", { className: "tiles" }, ...tiles.slice(first, first + inside)),
    );
    boxes.push(box);
  }
  pieces.replaceChildren(...boxes);
  const { memory, seconds, gradient, batchNorm } = measured[state.place];
  facts.textContent =
    `Measured at K = ${count}: ` +
    (memory === null ? "" : `${Math.round(memory).toLocaleString("en")} MB for training, `) +
    `${shown(seconds)} s for an optimizer step; the gradient is ${shown(gradient)} away from the large batch's` +
    (batchNorm === null ? "." : `, with BatchNorm by micro-batch ${shown(batchNorm)}.`);
  const right = sum(losses.slice(0, state.images)) / state.images;
  const fixed = sum(means) / count;
  const meanOfMeans = sum(means) / means.length;
  Object.assign(result.dataset, { right, fixed, means: meanOfMeans, memory: memory ?? "", gradient });
  const off = (value) => (Math.abs(value - right) < 1e-9 * right ? "the same" : `${value < right ? "−" : "+"}${(100 * Math.abs(value / right - 1)).toFixed(1)} %`);
  result.replaceChildren(
    element("span", { textContent: `All losses over ${state.images} images: ${shown(right)} (right). ` }),
    element("span", { textContent: `Each mean over K = ${count}: ${shown(fixed)} (${off(fixed)}). ` }),
    element("span", { textContent: `Mean of the ${means.length} means: ${shown(meanOfMeans)} (${off(meanOfMeans)}).` }),
  );
}
root.append(element("div", { className: "controls" }, cuts.box, length.box), facts, pieces, result);
draw();

// Similarities of pairs, and what a threshold makes of them: both kinds of error, and false accepts in a gallery.
const { bins, genuine, impostors, identities } = data;
const state = { bin: data.start, size: Math.min(10, identities) };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const sum = (values) => values.reduce((total, each) => total + each, 0);
const similarity = (bin) => -1 + (2 * bin) / bins;
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 2 : 1)} %`;

const slider = (name, label, min, max, value, set) => {
  const number = element("output");
  const input = element("input", { type: "range", min, max, name });
  input.value = value;
  input.addEventListener("input", () => { set(Number(input.value)); draw(); });
  return { box: element("label", {}, label, input, number), number, input };
};
const threshold = slider("threshold", "threshold", 0, bins, state.bin, (value) => { state.bin = value; });
const gallery = slider("gallery", "identities in the gallery", 1, Math.max(identities, 1000), state.size, (value) => { state.size = value; });
const canvas = element("canvas", { width: 2 * bins, height: 160 });
canvas.setAttribute("role", "img");
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");
const used = [...genuine.keys()].filter((bin) => genuine[bin] + impostors[bin] > 0);
const [first, last] = [used[0], used.at(-1) + 1];
// Only similarities that occur can be told apart: the sliders' ends are theirs.
threshold.input.min = first;
threshold.input.max = last;

function paint() {
  const context = canvas.getContext("2d");
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  context.clearRect(0, 0, canvas.width, canvas.height);
  const step = canvas.width / (last - first);
  const shares = [[impostors, colour("--muted"), 0], [genuine, colour("--accent"), 0.5]];
  const largest = Math.max(...[genuine, impostors].map((counts) => Math.max(...counts) / sum(counts)));
  for (const [counts, ink, shift] of shares) {
    context.fillStyle = ink;
    for (let bin = first; bin < last; bin++) {
      const high = (counts[bin] / sum(counts) / largest) * (canvas.height - 6);
      context.fillRect((bin - first + shift) * step, canvas.height - high, step / 2, high);
    }
  }
  context.fillStyle = colour("--text");
  context.fillRect((state.bin - first) * step - 1, 0, 2, canvas.height);
}

function draw() {
  const accepted = sum(impostors.slice(state.bin)) / sum(impostors);
  const rejected = sum(genuine.slice(0, state.bin)) / sum(genuine);
  const any = 1 - (1 - accepted) ** state.size;
  threshold.number.textContent = similarity(state.bin).toFixed(2).replace("-", "−");
  gallery.number.textContent = String(state.size);
  Object.assign(result.dataset, { accepted, rejected, any });
  result.textContent =
    `False accepts ${percent(accepted)}, false rejects ${percent(rejected)}. ` +
    `In a gallery of ${state.size}: at least one false accept with probability ${percent(any)}.`;
  canvas.setAttribute("aria-label", `Similarities of pairs; threshold ${threshold.number.textContent}. ${result.textContent}`);
  paint();
}
root.append(
  element("div", { className: "controls" }, threshold.box, gallery.box),
  element("p", { className: "legend" }, element("span", { className: "own", textContent: "pairs of one identity" }), " ", element("span", { className: "other", textContent: "pairs of two" })),
  canvas,
  result,
);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();

// How many units of each layer are mostly excited by one class, for any meaning of "mostly".
const { top, layers } = data;
const state = { least: Math.floor(top / 2) + 1 };

const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const from = (counts, least) => counts.slice(least).reduce((total, each) => total + each, 0);
const units = (counts) => from(counts, 0);
const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

const number = element("output");
const slider = element("input", { type: "range", min: 1, max: top, name: "least" });
slider.value = state.least;
slider.addEventListener("input", () => { state.least = Number(slider.value); draw(); });
const rows = element("div", { className: "rows" });
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");

function bar(kind, share, text) {
  const fill = element("span", { className: `fill ${kind}` });
  fill.style.width = `${100 * share}%`;
  return element("div", { className: "line" }, element("span", { className: "track" }, fill), element("span", { className: "value", textContent: text }));
}

function draw() {
  number.textContent = `${state.least} of ${top}`;
  slider.setAttribute("aria-valuetext", number.textContent);
  rows.replaceChildren(...layers.map(({ name, counts, shuffled }) => {
    const row = element("div", { className: "row" }, element("span", { className: "name", textContent: name }));
    const all = units(counts);
    const many = from(counts, state.least);
    const chance = from(shuffled, state.least);
    Object.assign(row.dataset, { layer: name, count: many, shuffled: chance, units: all });
    row.append(element("div", { className: "bars" },
      bar("own", many / all, `${many} of ${all}, ${percent(many / all)}`),
      bar("shuffled", chance / all, `shuffled: ${chance}, ${percent(chance / all)}`)));
    return row;
  }));
  const shares = layers.map(({ counts }) => from(counts, state.least) / units(counts));
  const best = layers[shares.indexOf(Math.max(...shares))].name;
  result.textContent = Math.max(...shares) > 0
    ? `Units with at least ${state.least} of ${top} strongest images of one class are most frequent in ${best}.`
    : `No unit has ${state.least} of ${top} strongest images of one class.`;
}
root.append(
  element("div", { className: "controls" }, element("label", {}, "at least", slider, number, "of one class")),
  rows,
  result,
);
draw();

// What each method needs to reach a macro-F1: the least data, and the shortest training.
const element = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const best = Math.max(...data.methods.flatMap((method) => data.points[method].map((point) => point.f1)));
const slider = element("input", { type: "range", min: 0, max: 100, step: 1, value: Math.floor(80 * best), name: "target" });
const shown = element("output");
const body = element("tbody");
const table = element("table", { className: "reach" },
  element("thead", {}, element("tr", {}, ...["method", "images", "share", "minutes"].map((word) => element("th", { textContent: word, scope: "col" })))),
  body);
const result = element("p", { className: "result" });
result.setAttribute("aria-live", "polite");

function draw() {
  const target = Number(slider.value) / 100;
  shown.textContent = target.toFixed(2);
  const rows = data.methods.map((method) => {
    const points = data.points[method].filter((point) => point.f1 >= target);
    const fewest = points.reduce((least, point) => (!least || point.images < least.images ? point : least), null);
    const minutes = points.length ? Math.min(...points.map((point) => point.minutes)) : null;
    return { method, fewest, minutes };
  });
  body.replaceChildren(...rows.map(({ method, fewest, minutes }) => {
    const cells = [fewest ? fewest.images.toLocaleString("en") : "–", fewest ? fewest.share : "–", fewest ? String(Number(minutes.toPrecision(2))) : "–"];
    const row = element("tr", {}, element("th", { textContent: method, scope: "row" }), ...cells.map((word) => element("td", { textContent: word })));
    row.dataset.images = fewest ? fewest.images : "";
    return row;
  }));
  const able = rows.filter((row) => row.fewest);
  const fewest = able.reduce((least, row) => (!least || row.fewest.images < least.fewest.images ? row : least), null);
  const quickest = able.reduce((least, row) => (!least || row.minutes < least.minutes ? row : least), null);
  result.textContent = able.length
    ? `Fewest images: ${fewest.method}. Shortest training: ${quickest.method}.`
    : "None of these trainings reaches it.";
}
slider.addEventListener("input", draw);
root.append(element("div", { className: "controls" }, element("label", {}, "macro-F1", slider, shown)), element("div", { className: "scroller" }, table), result);
draw();

"use strict";
// Draws the cards that are on the screen, and no others: 10,000 photos scroll as smoothly as 100.
(() => {
  const data = window.ahekitGallery;
  const list = document.getElementById("photos");
  const count = document.querySelector(".count");
  const nothing = document.querySelector(".none");
  const classes = document.getElementById("class");
  const order = document.getElementById("order");
  const search = document.getElementById("search");
  const states = [...document.querySelectorAll(".states button")];
  if (!data) {
    count.textContent = "gallery-data.js, which belongs beside this page, is missing.";
    return;
  }
  const [FOLDER, NAME, BASE, ADDRESS, THUMBNAIL, CLASS, CONFIDENCE, RUNNER, RUNNER_CONFIDENCE, STATE, REASON, DECISION] =
    Array(12).keys();
  const photos = data.photos;
  const NONE = "none of these";
  const EXTRA_ROWS = 3; // above and below the screen
  const LEAST_WIDTH = 196;
  const thousands = (number) => number.toLocaleString("en");
  const percent = (thousandths) => (thousandths < 0 ? "" : `${Math.round(thousandths / 10)} %`);
  const pathOf = (photo) => data.folders[photo[FOLDER]] + photo[NAME];
  const classOf = (photo) => (photo[DECISION] === -1 ? photo[CLASS] : photo[DECISION]);
  const lower = photos.map((photo) => pathOf(photo).toLowerCase());

  const filter = { state: "", element: "", words: "", order: "doubt" };
  let shown = [];
  let current = 0; // the one card that the Tab key reaches
  let columns = 1;
  let width = LEAST_WIDTH;
  let height = 0;
  const cards = new Map();

  // --- which photos, in what order ---

  function choose() {
    const state = filter.state === "" ? -1 : Number(filter.state);
    const element = filter.element === "" ? null : Number(filter.element);
    const words = filter.words.toLowerCase();
    shown = [];
    photos.forEach((photo, number) => {
      if (state >= 0 && photo[STATE] !== state) return;
      if (element !== null && classOf(photo) !== element) return;
      if (words && !lower[number].includes(words)) return;
      shown.push(number);
    });
    if (filter.order === "sure") shown.sort((one, other) => photos[other][CONFIDENCE] - photos[one][CONFIDENCE]);
    if (filter.order === "name") {
      const collator = new Intl.Collator("en", { numeric: true });
      shown.sort((one, other) => collator.compare(lower[one], lower[other]));
    }
    const part = shown.length < photos.length;
    count.textContent = part
      ? `${thousands(shown.length)} of ${thousands(photos.length)} photos`
      : `${thousands(photos.length)} photo${photos.length === 1 ? "" : "s"}`;
    nothing.hidden = shown.length > 0;
    current = 0;
    for (const card of cards.values()) card.remove();
    cards.clear();
    measure();
    remember();
  }

  function remember() {
    const kept = Object.entries(filter).filter(([name, value]) => value && !(name === "order" && value === "doubt"));
    try {
      history.replaceState(null, "", kept.length ? `#${new URLSearchParams(kept)}` : location.pathname + location.search);
    } catch {
      // A page in a frame may not; the filters work without.
    }
  }

  function recall() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(filter)) filter[name] = kept.get(name) ?? filter[name];
    order.value = filter.order;
    search.value = filter.words;
    classes.value = filter.element;
    if (classes.selectedIndex < 0) classes.value = filter.element = "";
    if (order.selectedIndex < 0) order.value = filter.order = "doubt";
    if (!states.some((button) => button.dataset.state === filter.state)) filter.state = "";
    press();
  }

  function press() {
    for (const button of states) button.setAttribute("aria-pressed", String(button.dataset.state === filter.state));
  }

  // --- the cards on the screen ---

  function measure() {
    const room = list.clientWidth;
    columns = Math.max(2, Math.floor(room / LEAST_WIDTH));
    width = room / columns;
    height = matchMedia("(max-width: 36rem)").matches ? 218 : 238;
    list.style.height = `${Math.ceil(shown.length / columns) * height}px`;
    for (const [place, card] of cards) position(card, place);
    draw();
  }

  function draw() {
    const top = -list.getBoundingClientRect().top;
    const first = Math.max(0, (Math.floor(top / height) - EXTRA_ROWS) * columns);
    const last = Math.min(shown.length, (Math.ceil((top + innerHeight) / height) + EXTRA_ROWS) * columns);
    for (const [place, card] of cards) {
      // The card that has the focus stays, or the focus would be lost.
      if ((place < first || place >= last) && place !== current) {
        card.remove();
        cards.delete(place);
      }
    }
    for (let place = first; place < last; place++) if (!cards.has(place)) add(place);
    if (shown.length && !cards.has(current)) add(current);
  }

  function add(place) {
    const card = make(photos[shown[place]], place);
    position(card, place);
    // In the order of the photos, for those who have the page read to them.
    let before = null;
    let nearest = Infinity;
    for (const [other, element] of cards) {
      if (other > place && other < nearest) {
        nearest = other;
        before = element;
      }
    }
    list.insertBefore(card, before);
    cards.set(place, card);
  }

  function position(card, place) {
    card.style.width = `${width}px`;
    card.style.height = `${height}px`;
    card.style.transform = `translate(${(place % columns) * width}px, ${Math.floor(place / columns) * height}px)`;
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text) made.textContent = text; // never as HTML: names are other people's
    return made;
  }

  function make(photo, place) {
    const kind = data.kinds[photo[STATE]];
    const decided = photo[DECISION] !== -1;
    const what = classOf(photo);
    const title = what >= 0 ? data.classes[what] : decided ? NONE : "";
    const runner = photo[RUNNER] < 0 ? "" : `or ${data.classes[photo[RUNNER]]} ${percent(photo[RUNNER_CONFIDENCE])}`;
    const said = decided ? "said by a person" : data.states[photo[STATE]];
    const reason = photo[REASON] < 0 ? "" : data.reasons[photo[REASON]];
    const third = !decided && kind === "review" ? runner || reason : decided ? "" : reason;

    const item = element("li");
    item.dataset.kind = decided ? "sure" : kind;
    item.setAttribute("aria-posinset", place + 1);
    item.setAttribute("aria-setsize", shown.length);
    const link = element("a", "card");
    link.href = data.bases[photo[BASE]] + (photo[ADDRESS] || photo[NAME]);
    link.target = "_blank";
    link.rel = "noopener";
    link.tabIndex = place === current ? 0 : -1;
    link.title = [pathOf(photo), reason, runner].filter(Boolean).join("\n");
    const label = decided ? [title, said, photo[NAME]] : [title, percent(photo[CONFIDENCE]), said, third, photo[NAME]];
    link.setAttribute("aria-label", label.filter(Boolean).join(", "));
    link.addEventListener("focus", () => {
      setCurrent(place);
    });

    const picture = element("div", "picture");
    if (photo[THUMBNAIL]) {
      const image = element("img");
      image.alt = "";
      image.decoding = "async";
      image.draggable = false;
      image.addEventListener("error", () => picture.replaceChildren("no preview"));
      image.src = data.thumbnails + photo[THUMBNAIL];
      picture.append(image);
    } else {
      picture.textContent = data.states[photo[STATE]];
    }
    const bar = element("div", "bar");
    const filled = element("i");
    filled.style.width = `${Math.max(0, photo[CONFIDENCE]) / 10}%`;
    bar.append(filled);
    const words = element("div", "words");
    const first = element("div", "first");
    first.append(element("span", "", title || "–"), element("span", "", decided ? "✓" : percent(photo[CONFIDENCE])));
    words.append(first, element("div", "second", said));
    if (third) words.append(element("div", "third", third));
    words.append(element("div", "name", photo[NAME]));
    link.append(picture, bar, words);
    item.append(link);
    return item;
  }

  // --- the keyboard ---

  function setCurrent(place) {
    const before = cards.get(current);
    if (before) before.firstChild.tabIndex = -1;
    current = place;
    const now = cards.get(current);
    if (now) now.firstChild.tabIndex = 0;
  }

  function go(place) {
    if (!shown.length) return;
    setCurrent(Math.min(Math.max(place, 0), shown.length - 1));
    const top = list.getBoundingClientRect().top + Math.floor(current / columns) * height;
    const hidden = document.querySelector(".tools").getBoundingClientRect().bottom;
    if (top < hidden) scrollBy(0, top - hidden - 8);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + 8);
    draw();
    cards.get(current).firstChild.tabIndex = 0;
    cards.get(current).firstChild.focus({ preventScroll: true });
  }

  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const screen = Math.max(1, Math.floor(innerHeight / height) - 1) * columns;
    const places = {
      ArrowRight: current + 1,
      ArrowLeft: current - 1,
      ArrowDown: current + columns < shown.length ? current + columns : current,
      ArrowUp: current - columns >= 0 ? current - columns : current,
      PageDown: current + screen,
      PageUp: current - screen,
      Home: 0,
      End: shown.length - 1,
    };
    if (!(event.key in places)) return;
    event.preventDefault();
    go(event.target === list ? current : places[event.key]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target === search || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "Enter") return;
    event.preventDefault();
    go(0);
  });

  // --- the filters ---

  const numbers = new Map();
  for (const photo of photos) numbers.set(classOf(photo), (numbers.get(classOf(photo)) ?? 0) + 1);
  classes.append(new Option("all", ""));
  const named = data.classes.map((name, number) => [name, number]).filter(([, number]) => numbers.has(number));
  named.sort(([one], [other]) => one.localeCompare(other, "en"));
  for (const [name, number] of named) classes.append(new Option(`${name} (${thousands(numbers.get(number))})`, number));

  for (const button of states) {
    button.addEventListener("click", () => {
      filter.state = button.dataset.state;
      press();
      choose();
    });
  }
  classes.addEventListener("change", () => {
    filter.element = classes.value;
    choose();
  });
  order.addEventListener("change", () => {
    filter.order = order.value;
    choose();
  });
  search.addEventListener("input", () => {
    filter.words = search.value.trim();
    choose();
  });
  document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());
  nothing.querySelector("button").addEventListener("click", () => {
    Object.assign(filter, { state: "", element: "", words: "", order: filter.order });
    classes.value = search.value = "";
    press();
    choose();
    search.focus();
  });

  let asked = false;
  addEventListener(
    "scroll",
    () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        draw();
      });
    },
    { passive: true },
  );
  new ResizeObserver(measure).observe(document.body);
  recall();
  choose();
})();

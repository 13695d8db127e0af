// Links, mouse and keys.

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// ---- links: the part of the address behind # says what is shown

let later = 0, touched = false;

function remember() {
  if (!touched) return;
  clearTimeout(later);
  later = setTimeout(() => {
    const [low, high] = windowOf(state.show, stack), digits = (n) => Number(n.toPrecision(6));
    const link = new URLSearchParams({
      scan: state.scan, slice: stack.numbers[state.slice], show: state.show, low: digits(low), high: digits(high),
    });
    if (state.layout !== "grid") link.set("layout", state.layout);
    if (state.layout !== "grid" || ["error", "difference"].includes(state.show)) link.set("a", state.a);
    if (state.layout !== "grid") link.set("b", state.b);
    if (state.layout === "wipe") link.set("wipe", digits(state.wipe));
    if (state.zoom !== 1) ["zoom", "x", "y"].forEach((name) => link.set(name, digits(state[name])));
    if (state.row !== null) link.set("at", `${state.row},${state.column}`);
    if (!state.colour) link.set("plain", 1);
    history.replaceState(null, "", `#view&${link}`);
  }, 200);
}

function linked() {
  if (!location.hash.startsWith("#view")) return null;
  return new URLSearchParams(location.hash.slice(6));
}

function follow(link, header) {
  const number = (name, low, high) => {
    const value = Number.parseFloat(link.get(name));
    return Number.isFinite(value) ? clamp(value, low, high) : null;
  };
  const set = (name, value) => { if (value !== null) state[name] = value; };
  const slice = header.numbers.indexOf(number("slice", 0, 1e9)), last = header.layers.length - 1;
  if (slice >= 0) state.slice = slice;
  if (shows(header).some(([show]) => show === link.get("show"))) state.show = link.get("show");
  state.layout = last > 0 && ["flicker", "wipe"].includes(link.get("layout")) ? link.get("layout") : "grid";
  for (const name of ["a", "b"]) set(name, number(name, 0, last) === null ? null : Math.round(number(name, 0, last)));
  const [low, high] = [number("low", -1e30, 1e30), number("high", -1e30, 1e30)];
  if (low !== null && high !== null && low < high) state.windows[state.show] = [low, high];
  state.zoom = number("zoom", 1, 64) ?? 1;
  state.x = number("x", 0, 1) ?? 0.5;
  state.y = number("y", 0, 1) ?? 0.5;
  set("wipe", number("wipe", 0, 1));
  const at = (link.get("at") || "").match(/^(\d{1,6}),(\d{1,6})$/);
  if (at) [state.row, state.column] = [1, 2].map((k) => clamp(Number(at[k]), 0, header.matrix[k - 1] - 1));
  state.colour = !link.get("plain");
}

function open(link) {
  if (!link) return;
  const scan = Number.parseInt(link.get("scan"), 10);
  if (scan >= 0 && scan < manifest.stacks.length) state.scan = scan;
  wanted = link; // it begins anew, also where the scan stays
  refresh();
}

// ---- what changes the view

function change(changes) {
  touched = true;
  Object.assign(state, changes);
  refresh();
}

const turn = (steps) => change({ slice: clamp(state.slice + steps, 0, stack.numbers.length - 1) });

function setWindow(low, high) {
  if (["mask", "phase", "kspace-phase"].includes(state.show) || !(high > low)) return;
  touched = true;
  state.windows[state.show] = [low, high];
  refresh();
}

// Moves by parts of the window's width: level up is darker, and the width is multiplied.
function adjust(level, width) {
  const [low, high] = windowOf(state.show, stack), range = high - low;
  if (["error", "invented", "doubt"].includes(state.show)) setWindow(0, high * Math.exp(level + Math.log(width)));
  else if (state.show === "difference") setWindow(low * Math.exp(level) * width, high * Math.exp(level) * width);
  else setWindow((low + high) / 2 + level * range - (range * width) / 2, (low + high) / 2 + level * range + (range * width) / 2);
}

function zoom(factor, px, py, tall = size.height - BAR) {
  const zoomed = clamp(state.zoom * factor, 1, 64), before = placed(size.width, tall, stack, state);
  const [u, v] = [(px - before.left) / before.width, (py - before.top) / before.height];
  const after = placed(size.width, tall, stack, { ...state, zoom: zoomed });
  touched = true;
  state.zoom = zoomed; // the point under the pointer stays where it is
  look(u + (size.width / 2 - px) / after.width, v + (tall / 2 - py) / after.height);
}

function look(x, y) {
  const centred = state.zoom === 1;
  Object.assign(state, { x: centred ? 0.5 : clamp(x, 0, 1), y: centred ? 0.5 : clamp(y, 0, 1) });
  draw();
}

function read(px, py) {
  const box = placed(size.width, size.height - BAR, stack, state), [rows, columns] = stack.matrix;
  const row = Math.floor(((py - box.top) / box.height) * rows), column = Math.floor(((px - box.left) / box.width) * columns);
  if (py > size.height - BAR || row < 0 || column < 0 || row >= rows || column >= columns) return;
  if (row === state.row && column === state.column) return;
  Object.assign(state, { row, column });
  draw();
}

function step(rows, columns) {
  const [height, width] = stack.matrix;
  touched = true;
  state.row = clamp((state.row ?? Math.floor(height / 2)) + rows, 0, height - 1);
  state.column = clamp((state.column ?? Math.floor(width / 2)) + columns, 0, width - 1);
  const [x, y] = [(state.column + 0.5) / width, (state.row + 0.5) / height], half = 0.5 / state.zoom;
  look(clamp(state.x, x - half, x + half), clamp(state.y, y - half, y + half)); // the pixel stays in view
  tell();
}

function save() {
  const second = state.layout === "wipe" ? panels[1] : null;
  const told = headline() + (panels.some((panel) => panel.mask) ? "; light blue: measured, orange: not measured" : "");
  const picture = composed(visible(), size.columns, size.width, size.height, stack, state, told, second);
  picture.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "switchrecon-view.png";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function reset() {
  touched = true;
  delete state.windows[state.show];
  Object.assign(state, { zoom: 1, x: 0.5, y: 0.5, row: null, column: null });
  refresh();
}

const swap = () => (state.layout === "flicker" ? show(1 - state.side) : change({ a: state.b, b: state.a }));

function show(side) {
  state.side = side;
  draw();
}

// ---- mouse, pen and finger

let space = false;

function watch(canvas) {
  let from = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (!panels.length) return;
    const [x, y] = at(event);
    canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    const near = state.layout === "wipe" && Math.abs(x - state.wipe * size.width) < 10;
    const does = event.button === 1 || event.shiftKey || space ? "pan" : near ? "wipe" : "window";
    from = { x, y, does, window: windowOf(state.show, stack), view: [state.x, state.y] };
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = at(event);
    if (!from) return read(x, y);
    const [dx, dy] = [x - from.x, y - from.y];
    touched = true;
    if (from.does === "wipe") {
      state.wipe = clamp(x / size.width, 0, 1);
      controls();
      return draw();
    }
    if (from.does === "pan") {
      const box = placed(size.width, size.height - BAR, stack, state);
      return look(from.view[0] - dx / box.width, from.view[1] - dy / box.height);
    }
    if (Math.hypot(dx, dy) < 3) return undefined;
    state.windows[state.show] = from.window;
    return adjust(-dy / 250, Math.exp(dx / 200));
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && manifest.embedded && !section.contains(document.activeElement)) return;
    event.preventDefault();
    if (event.ctrlKey) zoom(Math.exp(-event.deltaY / 300), ...at(event));
    else if (event.deltaY) turn(Math.sign(event.deltaY));
  }, { passive: false });
}

// ---- keys

const KEYS = {
  ArrowUp: () => turn(-1), ArrowDown: () => turn(1), PageUp: () => turn(-5), PageDown: () => turn(5),
  Home: () => turn(-1e6), End: () => turn(1e6),
  g: () => change({ layout: "grid" }), f: () => compare("flicker"), w: () => compare("wipe"), x: swap, " ": play,
  r: reset, p: save, m: () => change({ colour: !state.colour }), "0": () => { state.zoom = 1; look(0.5, 0.5); },
  "+": () => zoom(1.25, size.width / 2, (size.height - BAR) / 2), "-": () => zoom(0.8, size.width / 2, (size.height - BAR) / 2),
  b: () => adjust(-0.05, 1), B: () => adjust(0.05, 1), c: () => adjust(0, 0.9), C: () => adjust(0, 1 / 0.9),
  "[": () => change({ wipe: clamp(state.wipe - 0.02, 0, 1) }), "]": () => change({ wipe: clamp(state.wipe + 0.02, 0, 1) }),
};
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

const compare = (layout) => { if (stack.layers.length > 1) change({ layout, side: 0 }); };

function play() {
  if (state.layout === "flicker") change({ playing: !state.playing });
}

const listening = manifest.embedded ? section : document; // on a longer page, keys are for what has the focus
listening.addEventListener("keydown", (event) => {
  if (!stack || event.ctrlKey || event.metaKey || event.altKey || !panels.length) return;
  const inside = event.target.tagName, field = ["SELECT", "INPUT"].includes(inside);
  const chosen = SHOWN[Number(event.key) - 1];
  if (field || (["BUTTON", "SUMMARY"].includes(inside) && [" ", "Enter"].includes(event.key))) return;
  if (event.key === " ") space = true;
  if (event.shiftKey && ARROWS[event.key]) step(...ARROWS[event.key]);
  else if (chosen && shows(stack).some(([name]) => name === chosen[0])) change({ show: chosen[0] });
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});
listening.addEventListener("keyup", (event) => { if (event.key === " ") space = false; });

// ---- controls

for (const [name, element] of Object.entries(control)) {
  element.addEventListener("input", () => {
    if (name === "preset") {
      if (Number(element.value) >= 0) setWindow(...presets(state.show, stack)[Number(element.value)][1]);
    } else if (name === "colour") change({ colour: element.checked });
    else if (name === "show" || name === "layout") change({ [name]: element.value, side: 0 });
    else change({ [name]: Number(element.value) });
  });
}
Object.entries({ play, swap, reset, save }).forEach(([name, does]) => button[name].addEventListener("click", () => does()));
setInterval(() => { if (stack && state.layout === "flicker" && state.playing && panels.length > 1) show(1 - state.side); }, 400);
let resizing = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => { if (stack && panels.length) { place(); draw(); } });
});
window.addEventListener("hashchange", () => open(linked()));

section.hidden = false;
section.classList.add("viewer-live");
section.dataset.state = "busy";
if (manifest.remote && location.search) history.replaceState(null, "", location.pathname + location.hash); // the token
options(control.scan, manifest.stacks.map((each, k) => [k, each.name]));
if (linked()) open(linked());
else refresh();

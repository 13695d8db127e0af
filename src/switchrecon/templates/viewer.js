// The state of the view, what is loaded for it, and the page's elements that show it.

const SHOWN = [
  ["image", "image"], ["phase", "phase of the image"], ["error", "error |X − A|"], ["difference", "difference X − A"],
  ["kspace", "k-space, log magnitude"], ["kspace-phase", "k-space, phase"], ["mask", "sampling mask"],
  ["invented", "invented by the method"], ["doubt", "doubt"],
];
const STORED = ["phase", "invented", "doubt"]; // shown where a file has them
const TURN = [-Math.PI, Math.PI], BITS = { image: 16, phase: 8, kspace: 16, "kspace-phase": 8, mask: 1, invented: 16, doubt: 16 };
const PLANES_KEPT = 160;

const manifest = JSON.parse(document.getElementById("viewer-data").textContent);
const section = document.getElementById("viewer");
const part = (name) => section.querySelector(`.viewer-${name}`);
const control = Object.fromEntries([...section.querySelectorAll("[data-set]")].map((e) => [e.dataset.set, e]));
const button = Object.fromEntries([...section.querySelectorAll("[data-do]")].map((e) => [e.dataset.do, e]));
const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;

const state = {
  scan: 0, slice: 0, show: "image", layout: "grid", a: 0, b: null, side: 0, playing: !still, colour: true,
  zoom: 1, x: 0.5, y: 0.5, wipe: 0.5, row: null, column: null, windows: {},
};
let stack = null; // the header of the scan that is shown
let panels = []; // what is on the screen, from left to right
let size = { width: 0, height: 0, columns: 1 };
let asked = 0, painted = 0, wanted = null; // `wanted`: what a link says, until its scan is there

// ---- data

const headers = new Map(), planes = new Map();

async function fetched(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(await answer.text());
  return answer;
}

function headerOf(scan) {
  if (!manifest.remote) return manifest.stacks[scan];
  if (!headers.has(scan)) {
    const promise = fetched(`/stack/${scan}`).then((answer) => answer.json());
    promise.catch(() => headers.delete(scan));
    headers.set(scan, promise);
  }
  return headers.get(scan);
}

function plane(header, scan, layer, kind, slice) {
  const key = [scan, layer, kind, slice].join("/");
  let found = planes.get(key);
  if (!found) {
    found = unpacked(header, scan, layer, kind, slice);
    found.catch(() => planes.delete(key));
  }
  planes.delete(key);
  planes.set(key, found); // the last used is last
  if (planes.size > PLANES_KEPT) planes.delete(planes.keys().next().value);
  return found;
}

async function unpacked(header, scan, layer, kind, slice) {
  const [height, width] = header.matrix;
  if (kind !== "mask" && !header.layers[layer].kinds.includes(kind)) {
    return kspaceOf(await plane(header, scan, layer, "image", slice), height, width)[kind];
  }
  let bytes;
  if (manifest.remote) {
    bytes = new Uint8Array(await (await fetched(`/plane/${scan}/${layer}/${kind}/${slice}`)).arrayBuffer());
  } else {
    bytes = bytesOf(kind === "mask" ? header.masks[slice] : header.planes[layer][kind][slice]);
  }
  return decode(await inflate(bytes), BITS[kind], height * width);
}

// ---- what there is to see

function shows(header) {
  return SHOWN.filter(([show]) => {
    if (STORED.includes(show)) return header.layers.some((layer) => layer.kinds.includes(show));
    if (show === "mask") return header.mask;
    return !["error", "difference"].includes(show) || header.layers.length > 1;
  });
}

function presets(show, header) {
  const most = header.maximum;
  const scaled = (from, sign) => [0.05, 0.1, 0.2, 0.5].map((part) =>
    [`${sign}${100 * part} % of the maximum`, [from * part * most, part * most]]);
  if (show === "image") {
    return [["99.8th percentile", [0, header.window]], ["full range", [0, most]], ["dark structures", [0, header.window / 2]],
      ["bright structures", [header.window / 3, most]]];
  }
  if (show === "error") return scaled(0, "").map(([name, [, high]]) => [name, [0, high / most]]);
  if (show === "difference") return scaled(-1, "± ");
  if (show === "invented" || show === "doubt") return scaled(0, "");
  if (show === "kspace") return [["10⁻⁵ to 1", [-5, 0]], ["10⁻³ to 1", [-3, 0]], ["10⁻⁶ to 10⁻²", [-6, -2]]];
  return [["fixed", show === "mask" ? [0, 1] : TURN]];
}

function windowOf(show, header) {
  const first = { error: 1, difference: 1, invented: 1, doubt: 1 }[show] || 0;
  return state.windows[show] || presets(show, header)[first][1];
}

function layersShown(show, header) {
  const all = header.layers.map((_, k) => k);
  if (show === "mask") return [0];
  if (state.layout !== "grid") return [state.a, state.b];
  if (STORED.includes(show)) return all.filter((k) => header.layers[k].kinds.includes(show));
  return ["error", "difference"].includes(show) ? all.filter((k) => k !== state.a) : all;
}

async function panelOf(header, scan, layer, show, slice, a) {
  const [height, width] = header.matrix, name = header.layers[layer].name, before = header.layers[a].name;
  const base = { layer, name, isImage: true, colours: "grey", window: windowOf(show, header), unit: "" };
  if (show === "error" || show === "difference") {
    const [ours, theirs] = await Promise.all([layer, a].map((k) => plane(header, scan, k, "image", slice)));
    const error = show === "error", scale = error ? header.maximum : 1;
    base.values = ours.map((value, i) => (error ? Math.abs(value - theirs[i]) : value - theirs[i]) / scale);
    base.name = error ? `|${name} − ${before}| / maximum` : `${name} − ${before}`;
    base.colours = error ? "error" : "signed";
  } else if (show === "mask") {
    Object.assign(base, { values: await plane(header, scan, 0, "mask", slice), name: "sampling mask", isImage: false });
    base.ticks = ["not measured", "", "measured"];
  } else if (STORED.includes(show) && !header.layers[layer].kinds.includes(show)) {
    Object.assign(base, { values: new Float32Array(height * width).fill(NaN), name: `${name}: none` });
  } else {
    base.values = await plane(header, scan, layer, show, slice);
    base.isImage = !show.startsWith("kspace");
    if (show === "invented" || show === "doubt") Object.assign(base, { name: `${name}: ${show}`, colours: "error" });
    if (show.endsWith("phase")) Object.assign(base, { colours: "phase", unit: " rad" });
    if (show === "kspace" && state.colour && header.mask && layer !== header.truth) {
      base.mask = await plane(header, scan, 0, "mask", slice);
    }
  }
  if (base.colours === "phase") base.ticks = ["−π", "0", "π"];
  base.bitmap = paint(base.values, height, width, base.window, base.colours, base.mask);
  return base;
}

// ---- from the state to the screen

async function refresh() {
  const ticket = ++asked, scan = state.scan;
  section.dataset.state = "busy";
  try {
    const header = await headerOf(scan);
    if (scan !== state.scan) return;
    if (stack !== header || wanted) begin(header);
    const [slice, a, show] = [state.slice, state.a, state.show];
    const found = await Promise.all(layersShown(show, header).map((k) => panelOf(header, scan, k, show, slice, a)));
    if (ticket < painted || header !== stack) return; // a later one was faster
    painted = ticket;
    panels = found;
    place();
    draw();
    tell();
    section.dataset.state = ticket === asked ? "ready" : "busy";
  } catch (error) {
    tell(error.message);
    if (!panels.length) section.classList.remove("viewer-live"); // a report shows its pictures instead
    section.dataset.state = "failed";
  }
}

function begin(header) {
  stack = header;
  state.windows = {};
  state.slice = Math.floor(header.numbers.length / 2);
  state.a = header.truth ?? 0;
  const last = header.layers.length - 1;
  state.b = Math.min(state.b ?? (header.truth === null ? 1 : 2), last); // behind the reference comes zero filling
  if (state.b === state.a) state.b = last;
  state.row = state.column = null;
  if (wanted) follow(wanted, header);
  wanted = null;
  for (const name of ["a", "b"]) options(control[name], header.layers.map((layer, k) => [k, layer.name]));
  if (!shows(header).some(([show]) => show === state.show)) state.show = "image";
  options(control.show, shows(header));
  control.slice.max = header.numbers.length - 1;
  const known = header.letters ? "Letters name the patient's sides; left on the screen is " +
    `${header.letters.left}.` : "Geometry unknown: the patient's sides are not marked.";
  const some = header.of > header.numbers.length ? `${header.numbers.length} of ${header.of} slices are in this file.` : "";
  part("notes").textContent = [some, known, ...header.notes].filter(Boolean).join(" ");
}

function options(select, choices) {
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
}

// One window for all images of a kind: the controls say it, and every panel has it.
function controls() {
  const window = windowOf(state.show, stack), choices = presets(state.show, stack);
  const chosen = choices.findIndex(([, [low, high]]) => low === window[0] && high === window[1]);
  options(control.preset, [...choices.map(([name], k) => [k, name]), ...(chosen < 0 ? [[-1, "as dragged"]] : [])]);
  control.preset.value = chosen;
  for (const name of ["scan", "slice", "show", "layout", "a", "b", "wipe"]) control[name].value = state[name];
  control.colour.checked = state.colour;
  const [pair, compares] = [state.layout !== "grid", ["error", "difference"].includes(state.show)];
  const several = stack.layers.length > 1;
  const visible = {
    scan: manifest.stacks.length > 1, layout: several, a: several && (pair || compares), b: pair, wipe: state.layout === "wipe",
    colour: state.show === "kspace" && stack.mask, slice: stack.numbers.length > 1,
  };
  for (const [name, shown] of Object.entries(visible)) control[name].closest("label").hidden = !shown;
  button.play.hidden = state.layout !== "flicker";
  button.play.setAttribute("aria-pressed", String(state.playing));
  button.swap.hidden = !pair;
  const text = `${sliceName()} (${state.slice + 1} of ${stack.numbers.length})`;
  section.querySelector("[data-is=slice]").textContent = text;
  control.slice.setAttribute("aria-valuetext", `slice ${text}`);
}

// The number of the slice, and its contrast, repetition and the like where there are several.
function sliceName() {
  const label = stack.labels[state.slice];
  return label ? `${stack.numbers[state.slice]}, ${label}` : `${stack.numbers[state.slice]}`;
}

// The panels on the screen: one where two are compared.
function visible() {
  if (state.layout === "grid" || panels.length < 2) return panels;
  return [panels[state.layout === "flicker" ? state.side : 0]];
}

function place() {
  controls();
  const box = part("panels"), count = visible().length;
  while (box.children.length > count) box.lastChild.remove();
  while (box.children.length < count) box.append(figure());
  const wide = box.clientWidth, [rows, columns] = stack.matrix, [tall, broad] = stack.spacing;
  const room = manifest.embedded ? Math.max(320, 0.7 * window.innerHeight) :
    Math.max(window.innerHeight - (document.body.offsetHeight - box.offsetHeight), 240);
  const ratio = (columns * broad) / (rows * tall);
  size = { width: 0, height: 0, columns: 1 };
  for (let n = 1; n <= count; n++) {
    const lines = Math.ceil(count / n), across = (wide - 8 * (n - 1)) / n;
    const down = (room - lines * 23 - 8 * (lines - 1)) / lines - BAR;
    const width = Math.floor(Math.min(across, Math.max(down, 90) * ratio));
    if (width > size.width) size = { width, height: Math.round(width / ratio) + BAR, columns: n };
  }
  size.width = Math.max(size.width, Math.min(150, wide));
  box.style.gridTemplateColumns = `repeat(${size.columns}, ${size.width}px)`;
}

function figure() {
  const element = document.createElement("figure"), caption = document.createElement("figcaption");
  const canvas = document.createElement("canvas");
  element.className = "viewer-panel";
  for (const name of ["viewer-name", "viewer-value"]) {
    const span = document.createElement("span");
    span.className = name;
    caption.append(span);
  }
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  element.append(caption, canvas);
  watch(canvas);
  return element;
}

function draw() {
  const ratio = window.devicePixelRatio || 1, [low, high] = windowOf(state.show, stack);
  visible().forEach((panel, k) => {
    const element = part("panels").children[k], canvas = element.querySelector("canvas");
    const second = state.layout === "wipe" ? panels[1] : null;
    const [width, height] = [size.width, size.height].map((n) => Math.round(n * ratio));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.style.width = `${size.width}px`;
    canvas.style.height = `${size.height}px`;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawPanel(context, size.width, size.height, stack, state, panel, second);
    const name = second ? `${panel.name} | ${second.name}` : panel.name;
    element.querySelector(".viewer-name").textContent = name;
    element.querySelector(".viewer-name").title = name;
    canvas.setAttribute("aria-label",
      `${name}, slice ${sliceName()}, window ${shortNumber(low)} to ${shortNumber(high)}`);
  });
  values();
  part("line").textContent = everything();
  remember();
}

function valueText(panel) {
  const value = panel.values[state.row * stack.matrix[1] + state.column];
  if (state.show === "mask") return value ? "measured" : "not measured";
  return shortNumber(value, 5) + (Number.isFinite(value) ? panel.unit : "");
}

function values() {
  visible().forEach((panel, k) => {
    const shown = state.layout === "wipe" ? panels : [panel];
    const text = state.row === null ? "" : shown.map(valueText).join(" | ");
    part("panels").children[k].querySelector(".viewer-value").textContent = text;
  });
}

function headline() {
  const [low, high] = windowOf(state.show, stack), show = SHOWN.find(([name]) => name === state.show)[1];
  return `${stack.name}, slice ${sliceName()}, ${show}, window ${shortNumber(low)} to ${shortNumber(high)}`;
}

function everything() {
  const shown = state.layout === "grid" ? visible() : panels;
  if (state.row === null) return headline();
  return [`${headline()}; row ${state.row}, column ${state.column}`,
    ...shown.map((panel) => `${panel.name}: ${valueText(panel)}`)].join("; ");
}

// For screen readers: it is said when keys or links change the view, not whenever the pointer moves.
function tell(text = everything()) {
  for (const name of ["line", "status"]) if (part(name).textContent !== text) part(name).textContent = text;
}

// A displacement field that one drags: the front end of moereg/viz/dragfield.py, for notebooks and for saved pages.
//
// Handles at centres c_k with moves m_k make one Gaussian bump each; all arithmetic is that of the library:
//
//   f(x) = sum_k m_k exp(-|x - c_k|^2 / (2 sigma^2))     read as a displacement u = f, or as a velocity, u = exp(f)
//   warped[x] = moving[x + u(x)]                         linear interpolation, border values outside
//   det(I + grad u)                                      central differences, one-sided at the border
//
// Axes are (row, column); a field is two Float64Arrays [down, right] in voxels. Text goes in as text, never as markup.

/** The sum of bumps on a grid of `shape`. */
export function bumps(shape, centres, moves, sigma) {
  const [rows, columns] = shape;
  const field = [new Float64Array(rows * columns), new Float64Array(rows * columns)];
  centres.forEach(([y, x], k) => {
    for (let i = 0, row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++, i++) {
        const height = Math.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * sigma * sigma));
        field[0][i] += moves[k][0] * height;
        field[1][i] += moves[k][1] * height;
      }
  });
  return field;
}

/** `values[x + u(x)]` at every voxel. */
export function sample(values, shape, field) {
  const [rows, columns] = shape;
  const out = new Float64Array(rows * columns);
  for (let i = 0, row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++, i++) {
      const y = clamp(row + field[0][i], 0, rows - 1);
      const x = clamp(column + field[1][i], 0, columns - 1);
      const top = Math.min(Math.floor(y), rows - 2);
      const left = Math.min(Math.floor(x), columns - 2);
      const [b, a] = [y - top, x - left];
      const at = top * columns + left;
      out[i] =
        (1 - b) * ((1 - a) * values[at] + a * values[at + 1]) +
        b * ((1 - a) * values[at + columns] + a * values[at + columns + 1]);
    }
  return out;
}

/** Scaling and squaring: `u <- u + u(x + u(x))`, from `f / 2^n`. */
export function exponentiate(field, shape, squarings = 7) {
  let u = field.map((channel) => channel.map((value) => value / 2 ** squarings));
  for (let n = 0; n < squarings; n++) {
    const moved = u.map((channel) => sample(channel, shape, u));
    u = u.map((channel, d) => channel.map((value, i) => value + moved[d][i]));
  }
  return u;
}

/** det(I + grad u) at every voxel. */
export function determinants(field, shape) {
  const [rows, columns] = shape;
  const slope = (channel, i, place, size, stride) => {
    const before = place > 0 ? 1 : 0;
    const after = place < size - 1 ? 1 : 0;
    return (channel[i + after * stride] - channel[i - before * stride]) / (before + after);
  };
  return Float64Array.from(field[0], (_, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const down = field.map((channel) => slope(channel, i, row, rows, columns));
    const right = field.map((channel) => slope(channel, i, column, columns, 1));
    return (1 + down[0]) * (1 + right[1]) - down[1] * right[0];
  });
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const words = (value) => `${value < 0 ? "\u2212" : ""}${Math.abs(value).toFixed(1)}`;

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const HINT = "Drag a handle, or focus it and use the arrow keys (Shift: a quarter of a voxel, Home: back to its centre).";
let views = 0; // ids and names of radio buttons must differ between the views of one page

/**
 * Draw into `root`. `given`: shape, centres, image (base64 of bytes), moves, sigma, reading. `changed(state)` is called
 * with {moves, sigma, reading} after each change made by the reader; `set(state)` changes the view from outside.
 */
export function createDragField(root, given, changed = () => {}) {
  const { shape, centres } = given;
  const [rows, columns] = shape;
  const id = `mdf-${++views}`;
  const image = Float64Array.from(atob(given.image), (character) => character.charCodeAt(0) / 255);
  const start = { moves: given.moves, sigma: given.sigma, reading: given.reading };
  let state = structuredClone(start);

  // The parts of the view
  const scale = Math.max(4, Math.round(640 / Math.max(rows, columns)));
  const canvas = (label) =>
    h("canvas", { width: columns * scale, height: rows * scale, role: "img", "aria-label": label });
  const left = canvas("Moving image; over it a grid that shows where each voxel of the fixed grid looks.");
  const right = canvas("Warped image; folded voxels are coloured.");
  const handles = centres.map((_, k) => h("button", { type: "button", class: "mdf-handle", "aria-describedby": id }));
  const stage = h("div", { class: "mdf-stage" }, left, ...handles);
  const said = h("output", { class: "mdf-said", "aria-live": "polite" });
  const sigma = h("input", { type: "range", min: 2, max: 16, step: 0.5, "aria-label": "Width of the bumps, voxels" });
  const width = h("span", { class: "mdf-number" });
  const readings = ["displacement", "velocity"].map((name) =>
    h("input", { type: "radio", name: `${id}-reading`, value: name }),
  );
  const reset = h("button", { type: "button", class: "mdf-reset" }, "Start again");
  const view = h(
    "div",
    { class: "mdf", role: "region", "aria-label": "A displacement field to drag" },
    h(
      "div",
      { class: "mdf-tools" },
      h("label", {}, "Width σ ", sigma, " ", width),
      h(
        "span",
        { role: "radiogroup", "aria-label": "Read the bumps as" },
        "Read as ",
        ...readings.map((input) => h("label", {}, input, ` ${input.value} `)),
      ),
      reset,
    ),
    h(
      "div",
      { class: "mdf-panels" },
      h("figure", {}, h("figcaption", {}, "moving image, and where x + u(x) lies"), stage),
      h("figure", {}, h("figcaption", {}, "warped image, moving[x + u(x)]"), right),
    ),
    said,
    h("p", { class: "mdf-hint", id }, HINT),
  );

  function draw() {
    const bump = bumps(shape, centres, state.moves, state.sigma);
    const u = state.reading === "velocity" ? exponentiate(bump, shape) : bump;
    const determinant = determinants(u, shape);
    const folded = [];
    determinant.forEach((value, i) => value <= 0 && folded.push(i));
    const least = determinant.reduce((a, b) => Math.min(a, b), Infinity);
    const at = (row, column) => {
      const i = row * columns + column;
      return [(column + u[1][i] + 0.5) * scale, (row + u[0][i] + 0.5) * scale];
    };
    const [pen, other] = [left.getContext("2d"), right.getContext("2d")];
    paint(pen, image);
    paint(other, sample(image, shape, u));
    // The four neighbours of a voxel make a diamond of signed area 2 det: where it is turned over, the field folds.
    pen.fillStyle = other.fillStyle = "#d5008fb3";
    for (const i of folded) {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const [up, down] = [Math.max(row - 1, 0), Math.min(row + 1, rows - 1)];
      const [west, east] = [Math.max(column - 1, 0), Math.min(column + 1, columns - 1)];
      trace(pen, [at(up, column), at(row, east), at(down, column), at(row, west)]);
      pen.fill();
      other.fillRect(column * scale, row * scale, scale, scale);
    }
    const line = (points) => (trace(pen, points), pen.stroke());
    pen.strokeStyle = "#f0b04a";
    pen.lineWidth = 1.5;
    for (let row = 0; row < rows; row += 2) line(Array.from({ length: columns }, (_, column) => at(row, column)));
    for (let column = 0; column < columns; column += 2) line(Array.from({ length: rows }, (_, row) => at(row, column)));
    pen.strokeStyle = "#ffffff";
    pen.lineWidth = 3;
    centres.forEach(([y, x], k) => {
      const [down, across] = state.moves[k];
      const end = [(x + across + 0.5) * scale, (y + down + 0.5) * scale];
      line([[(x + 0.5) * scale, (y + 0.5) * scale], end]);
      handles[k].style.left = `${((x + across + 0.5) / columns) * 100}%`;
      handles[k].style.top = `${((y + down + 0.5) / rows) * 100}%`;
      handles[k].setAttribute("aria-label", `Handle ${k + 1}: ${words(down)} down, ${words(across)} right, in voxels`);
    });
    said.textContent =
      `Smallest Jacobian determinant ${least.toFixed(2).replace("-", "\u2212")}. ` +
      (folded.length ? `${folded.length} of ${rows * columns} voxels folded.` : "No voxel folded.");
    Object.assign(view.dataset, { least, folded: folded.length, moves: JSON.stringify(state.moves) });
    sigma.value = state.sigma;
    width.textContent = `${state.sigma} voxels`;
    for (const input of readings) input.checked = input.value === state.reading;
  }

  /** Values in [0, 1] as grey squares. */
  function paint(pen, values) {
    for (let i = 0; i < values.length; i++) {
      const grey = Math.round(255 * values[i]);
      pen.fillStyle = `rgb(${grey} ${grey} ${grey})`;
      pen.fillRect((i % columns) * scale, Math.floor(i / columns) * scale, scale, scale);
    }
  }

  function change(part) {
    state = { ...state, ...part };
    draw();
    changed(state);
  }

  /** Handles stay over the image. */
  function move(k, down, across) {
    const [y, x] = centres[k];
    const kept = [clamp(y + down, 0, rows - 1) - y, clamp(x + across, 0, columns - 1) - x];
    change({ moves: state.moves.map((old, i) => (i === k ? kept : old)) });
  }

  handles.forEach((handle, k) => {
    handle.textContent = k + 1;
    handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = left.getBoundingClientRect();
      const row = ((event.clientY - box.top) / box.height) * rows - 0.5;
      const column = ((event.clientX - box.left) / box.width) * columns - 0.5;
      move(k, row - centres[k][0], column - centres[k][1]);
    });
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.25 : 1;
      const [down, across] = state.moves[k];
      const moves = {
        ArrowUp: [down - step, across],
        ArrowDown: [down + step, across],
        ArrowLeft: [down, across - step],
        ArrowRight: [down, across + step],
        Home: [0, 0],
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      event.stopPropagation(); // a notebook would go to another cell
      move(k, ...moves[event.key]);
    });
  });
  sigma.addEventListener("input", () => change({ sigma: Number(sigma.value) }));
  for (const input of readings) input.addEventListener("change", () => change({ reading: input.value }));
  reset.addEventListener("click", () => change(structuredClone(start)));

  root.replaceChildren(view);
  const stopTheme = followTheme(view);
  draw();
  view.dataset.ready = "true";
  return {
    set: (part) => {
      state = { ...state, ...part };
      draw();
    },
    destroy: () => (stopTheme(), view.remove()),
  };
}

function trace(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}

/** Dark where the page is: a book theme's or JupyterLab's attribute, else the system's preference. */
function followTheme(view) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const decide = () => {
    const said = document.documentElement.dataset.theme;
    const lab = document.body.dataset.jpThemeLight;
    const dark = said === "dark" || said === "light" ? said === "dark" : lab ? lab === "false" : system.matches;
    view.dataset.theme = dark ? "dark" : "light";
  };
  decide();
  system.addEventListener("change", decide);
  const observer = new MutationObserver(decide);
  for (const element of [document.documentElement, document.body])
    observer.observe(element, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] });
  return () => (system.removeEventListener("change", decide), observer.disconnect());
}

/** In a notebook, through anywidget: moves, width and reading are shared with Python, both ways. */
function render({ model, el }) {
  const names = ["moves", "sigma", "reading"];
  const read = (list) => Object.fromEntries(list.map((name) => [name, model.get(name)]));
  let [waiting, talking] = [null, false];
  const view = createDragField(el, read(["shape", "centres", "image", ...names]), (state) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      talking = true;
      for (const name of names) if (!same(model.get(name), state[name])) model.set(name, state[name]);
      model.save_changes();
      talking = false;
    }, 50); // dragging must not flood the kernel
  });
  const pull = () => talking || view.set(read(names));
  for (const name of names) model.on(`change:${name}`, pull);
  return () => {
    clearTimeout(waiting);
    for (const name of names) model.off(`change:${name}`, pull);
    view.destroy();
  };
}

export default { render };

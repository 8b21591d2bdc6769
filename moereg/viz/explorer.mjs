// The explorer of a registered pair: put a finger on a voxel and see which experts moved it, and why.
//
// One ES module for three homes: JupyterLab (anywidget calls the default export), a page of the book and a report
// (they call `mount`). No build step, no framework, no request to anyone. Contents:
//
//   1  reading a payload        bytes -> maps (the other side of moereg/viz/payload.py)
//   2  what a voxel says        fields, warps, routing, attention: plain functions of data and position
//   3  colours and numbers
//   4  elements                 a small helper for HTML and SVG; text goes in as text, never as markup
//   5  state
//   6  planes                   a slice with overlays and a pointer
//   7  panels                   images, routing, voxel, load, knock-out, training, live controls
//   8  the explorer             puts them together
//   9  one decision, step by step
//  10  homes                    `mount` for pages, the default export for anywidget
//
// Conventions are the library's: axes z, y, x; a displacement u pulls, warped[x] = moving[x + u(x)], in voxels.

// ------------------------------------------------------------------------------------------------ 1 reading a payload

/** Undo gzip (and base64, on a page) of `payload.data`; the result has a `read(entry)` that gives `{shape, values}`. */
export async function openPayload(payload) {
  const packed = typeof payload.data === "string" ? fromBase64(payload.data) : payload.data;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const cache = new Map();
  const read = (entry) => {
    if (!cache.has(entry.offset)) cache.set(entry.offset, decode(bytes, entry));
    return cache.get(entry.offset);
  };
  return { ...payload, read };
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** One map: low bytes, then high bytes, of differences along the last `axes` axes; value = zero + code * precision. */
export function decode(bytes, { offset, shape, bits, axes, zero, precision }) {
  const size = product(shape);
  const codes = bits === 8 ? bytes.slice(offset, offset + size) : new Uint16Array(size);
  if (bits === 16) for (let i = 0; i < size; i++) codes[i] = bytes[offset + i] + (bytes[offset + size + i] << 8);
  // Sums wrap around as the differences did: both live in 8 or 16 bits.
  for (let axis = 1, stride = 1; axis <= axes; axis++) {
    const length = shape[shape.length - axis];
    for (let i = 0; i < size; i++) if (Math.floor(i / stride) % length) codes[i] += codes[i - stride];
    stride *= length;
  }
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = zero + codes[i] * precision;
  return { shape, values };
}

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

// ------------------------------------------------------------------------------------------------ 2 what a voxel says

/** Value of a map at whole coordinates. */
function at(map, ...index) {
  let flat = 0;
  for (let i = 0; i < index.length; i++) flat = flat * map.shape[i] + index[i];
  return map.values[flat];
}

/** Linear interpolation at `position` (one number per axis), border values outside. `leading` picks a channel. */
export function interpolate(map, position, leading = []) {
  const shape = map.shape.slice(leading.length);
  let base = 0;
  for (let i = 0; i < leading.length; i++) base = base * map.shape[i] + leading[i];
  let corners = [[base, 1]];
  for (let axis = 0; axis < shape.length; axis++) {
    const place = Math.min(Math.max(position[axis], 0), shape[axis] - 1);
    const low = Math.min(Math.floor(place), Math.max(shape[axis] - 2, 0));
    const high = Math.min(low + 1, shape[axis] - 1);
    const part = place - low;
    const next = [];
    for (const [flat, weight] of corners) {
      if (part < 1) next.push([flat * shape[axis] + low, weight * (1 - part)]);
      if (part > 0) next.push([flat * shape[axis] + high, weight * part]);
    }
    corners = next;
  }
  let sum = 0;
  for (const [flat, weight] of corners) sum += map.values[flat] * weight;
  return sum;
}

/** Value of the closest voxel, border values outside. */
function nearest(map, position) {
  return at(map, ...map.shape.map((size, axis) => clamp(Math.round(position[axis]), 0, size - 1)));
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The displacement at a voxel, in voxels, for one of the fields "result", "none", "knockout:3", "step:0", "snapshot:2". */
export function displacementAt(data, field, voxel) {
  if (field === "none") return voxel.map(() => 0);
  const whole = data.read(data.displacement);
  const change = fieldChange(data, field);
  return voxel.map((_, axis) => {
    const base = at(whole, axis, ...voxel);
    if (!change) return base;
    return (
      base +
      interpolate(
        data.read(change.values),
        voxel.map((v) => v / change.every),
        [axis],
      )
    );
  });
}

/** What a field other than the result adds to it: a coarse map, or null. */
function fieldChange(data, field) {
  const [kind, number] = field.split(":");
  if (kind === "knockout") return data.knockouts[number].field;
  if (kind === "snapshot") return data.snapshots[number].field;
  if (kind === "step") return data.steps[number];
  return null;
}

/** `moving[x + u(x)]` */
export function warpedAt(data, field, voxel) {
  const u = displacementAt(data, field, voxel);
  return interpolate(
    data.read(data.images.moving),
    voxel.map((v, axis) => v + u[axis]),
  );
}

/** Label of the fixed image, of the moving one, or of the warped one, at a voxel. */
function labelAt(data, which, field, voxel) {
  if (!data.labels) return 0;
  if (which === "fixed") return at(data.read(data.labels.fixed), ...voxel);
  if (which === "moving") return at(data.read(data.labels.moving), ...voxel);
  const u = displacementAt(data, field, voxel);
  return nearest(
    data.read(data.labels.moving),
    voxel.map((v, axis) => v + u[axis]),
  );
}

const labelName = (data, value) => (value ? (data.label_names[String(value)] ?? `label ${value}`) : "");

/** Voxel of the image -> stored voxel of a layer's map; voxel i of the layer sits on voxel i * stride of the image. */
export function layerVoxel(layer, voxel, every = layer.every) {
  return voxel.map((v, axis) => {
    const stored = Math.ceil(layer.grid[axis] / every);
    return clamp(Math.floor(v / (layer.stride[axis] * every) + 0.5), 0, stored - 1);
  });
}

/** Everything one decision consisted of: logits -> softmax -> top-k -> gates, for one track (direction or image). */
export function decisionAt(data, layer, track, voxel) {
  const place = layerVoxel(layer, voxel);
  const logits = layer.experts.map((_, e) => at(data.read(layer.logits), track, e, ...place));
  const peak = Math.max(...logits.filter((_, e) => !layer.left_out.includes(e)));
  const powers = logits.map((x, e) => (layer.left_out.includes(e) ? 0 : Math.exp(x - peak)));
  const total = powers.reduce((a, b) => a + b, 0);
  const probabilities = powers.map((power) => power / total);
  const chosen = Array.from({ length: layer.k }, (_, slot) => at(data.read(layer.indices), track, slot, ...place));
  const gates = layer.experts.map(() => 0);
  chosen.forEach((e, slot) => (gates[e] = at(data.read(layer.gates), track, slot, ...place)));
  const entropy = -probabilities.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0);
  return { place, logits, probabilities, chosen, gates, entropy };
}

/** Each expert's share of each displacement component, in voxels of the layer: `[direction][expert]`. */
export function contributionsAt(data, layer, voxel) {
  if (!layer.proposals) return null;
  const place = layerVoxel(layer, voxel);
  const proposals = data.read(layer.proposals);
  return data.axes.map((_, direction) => {
    const track = layer.tracks.length === data.axes.length ? direction : 0;
    const { gates } = decisionAt(data, layer, track, voxel);
    return gates.map((gate, e) => (gate ? gate * at(proposals, direction, e, ...place) : 0));
  });
}

/** Where each chosen head of a token looks: `[{expert, gate, weights: Map(voxel -> share), low, high}]`. */
export function attentionAt(data, layer, track, voxel) {
  if (!layer.attention || layer.every !== 1) return [];
  const { window } = layer.attention;
  const { place, chosen, gates } = decisionAt(data, layer, track, voxel);
  const keys = data.read(layer.attention.keys);
  const queries = data.read(layer.attention.queries);
  const width = keys.shape[1];
  const low = place.map((p, axis) => Math.floor(p / window[axis]) * window[axis]);
  const high = low.map((l, axis) => Math.min(l + window[axis], layer.grid[axis]));
  const tokens = boxes(low, high);
  return chosen.map((expert, slot) => {
    const query = Array.from({ length: width }, (_, c) => at(queries, track, slot, c, ...place));
    const scores = tokens.map(
      (token) => query.reduce((sum, q, c) => sum + q * at(keys, track, c, ...token), 0) / Math.sqrt(width),
    );
    const peak = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - peak));
    const total = powers.reduce((a, b) => a + b, 0);
    return { expert, gate: gates[expert], low, high, tokens, weights: powers.map((power) => power / total) };
  });
}

/** All whole coordinates of a box, last axis fastest. */
function boxes(low, high) {
  return low.reduce(
    (list, first, axis) =>
      list.flatMap((head) => Array.from({ length: high[axis] - first }, (_, i) => [...head, first + i])),
    [[]],
  );
}

// ---------------------------------------------------------------------------------------------- 3 colours and numbers

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);

const luminance = (colour) =>
  colour
    .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);

const cssColour = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

/** Gate maps run from a ground that the expert's colour stands out from. */
const groundFor = (hex) => (luminance(rgb(hex)) > 0.22 ? [16, 18, 22] : [244, 241, 234]);

const ENTROPY = ["#16161d", "#5b4a78", "#c98b7d", "#f6ecd4"].map(rgb);
const DIFFERENCE = ["#2a6fd1", "#101216", "#e8853a"].map(rgb);

/** A colour between stops, t from 0 to 1. */
function ramp(stops, t) {
  const place = clamp(t, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return mix(stops[low], stops[low + 1], place - low);
}

/** "+0.42", "−1.30": a real minus, a fixed width. */
export const signed = (value, digits = 2) => {
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? "\u2007" : value < 0 ? "\u2212" : "+") + text;
};
/** The same for a sentence: no placeholder where zero has no sign. */
const spokenNumber = (value) => signed(value).trim();
const plain = (value, digits = 2) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
const percent = (value) => `${Math.round(value * 100)}\u2009%`;
const ordinal = (rank) => ["1st", "2nd", "3rd"][rank] ?? `${rank + 1}th`;

// --------------------------------------------------------------------------------------------------------- 4 elements

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "circle"]);

/** `h("p", {class: "moe-note"}, "text", child)`. Strings become text nodes, so no label can carry markup. */
function h(tag, properties = {}, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.entries(value).forEach(([key, v]) => element.style.setProperty(key, v));
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return element;
}

let serial = 0;
const uniqueId = (stem) => `moe-${stem}-${++serial}`;

/** A row of radio buttons that looks like one control. `options` is `[[value, label, swatch?], ...]`. */
function choice({ legend, options, value, onchange, compact = false }) {
  const name = uniqueId("choice");
  const inputs = new Map();
  const element = h(
    "fieldset",
    { class: compact ? "moe-choice moe-compact" : "moe-choice" },
    h("legend", {}, legend),
    options.map(([key, label, swatch]) => {
      const input = h("input", { type: "radio", name, value: key, onchange: () => onchange(key) });
      inputs.set(String(key), input);
      return h(
        "label",
        {},
        input,
        h("span", {}, swatch ? h("i", { class: "moe-swatch", style: { background: swatch } }) : null, label),
      );
    }),
  );
  const set = (key) => inputs.has(String(key)) && (inputs.get(String(key)).checked = true);
  const relabel = (key, text) => (inputs.get(key).nextElementSibling.textContent = text);
  set(value);
  return { element, set, relabel };
}

/** A button that stays pressed. */
function toggle(label, pressed, onchange) {
  const element = h("button", { type: "button", class: "moe-toggle", "aria-pressed": String(pressed) }, label);
  element.addEventListener("click", () => onchange(element.getAttribute("aria-pressed") !== "true"));
  const set = (on) => element.setAttribute("aria-pressed", String(Boolean(on)));
  return { element, set, relabel: (text) => (element.textContent = text) };
}

/** A labelled range input. */
function slider({ label, min, max, value, oninput }) {
  const id = uniqueId("slider");
  const output = h("output", { for: id });
  const caption = h("label", { for: id }, label);
  const input = h("input", { type: "range", id, min, max, step: 1, value });
  input.addEventListener("input", () => oninput(Number(input.value)));
  const set = (number, text, limit) => {
    if (limit !== undefined) input.max = limit;
    input.value = number;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  return { element: h("div", { class: "moe-slider" }, caption, input, output), set, caption };
}

// ------------------------------------------------------------------------------------------------------------ 5 state

/** What is being looked at. Panels subscribe; `set` tells them which keys changed. */
function createStore(state) {
  const listeners = new Set();
  return {
    get state() {
      return state;
    },
    set(change) {
      const keys = Object.keys(change).filter((key) => !same(state[key], change[key]));
      if (!keys.length) return;
      state = { ...state, ...change };
      for (const listener of [...listeners]) listener(state, new Set(keys));
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

/** The voxel that is spoken about: under the pointer, else the pinned one. */
const focus = (state) => state.hover ?? state.voxel;

// ----------------------------------------------------------------------------------------------------------- 6 planes

/** Axes of a slice: `normal` is cut (-1 in 2-D), rows run down, columns to the right. */
function planeAxes(data, normal) {
  const [row, column] = data.axes.map((_, axis) => axis).filter((axis) => axis !== normal);
  return { normal, row, column };
}

const PLANE_NAMES = { z: "axial", y: "coronal", x: "sagittal" };

function planeName(data, normal) {
  return normal < 0 ? "the image" : `${PLANE_NAMES[data.axes[normal]]} plane`;
}

/** CSS aspect ratio of so many rows and columns of voxels. */
const aspect = (data, axes, rows, columns) =>
  `${columns * data.spacing[axes.column]} / ${rows * data.spacing[axes.row]}`;

/** A voxel of the slice through `through`. */
function onPlane({ row, column }, through, r, c) {
  const voxel = [...through];
  voxel[row] = r;
  voxel[column] = c;
  return voxel;
}

/**
 * One slice: a canvas with one pixel per voxel, an SVG drawn in voxel coordinates on top, a pointer and the arrow keys.
 *
 * `paint(voxel) -> [r, g, b]` colours a voxel; `draw(axes) -> svg nodes` gives the overlays; `onpick(voxel)` is a press.
 */
function createPlane(data, store, { name, onpick, keyboard = true }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const overlay = h("svg", { "aria-hidden": "true", preserveAspectRatio: "none" });
  const cursor = h("svg", { "aria-hidden": "true", preserveAspectRatio: "none", class: "moe-cursor" });
  const element = h(
    "div",
    { class: "moe-plane", "data-plane": name, ...(keyboard ? { tabindex: 0, role: "application" } : {}) },
    canvas,
    overlay,
    cursor,
  );
  if (keyboard) element.setAttribute("aria-roledescription", "slice");
  let axes = planeAxes(data, data.axes.length === 3 ? 0 : -1);

  const voxelUnder = (event) => {
    const box = element.getBoundingClientRect();
    const r = Math.floor(((event.clientY - box.top) / box.height) * data.shape[axes.row]);
    const c = Math.floor(((event.clientX - box.left) / box.width) * data.shape[axes.column]);
    return onPlane(
      axes,
      store.state.voxel,
      clamp(r, 0, data.shape[axes.row] - 1),
      clamp(c, 0, data.shape[axes.column] - 1),
    );
  };
  const press = (event) => onpick(voxelUnder(event));
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    press(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) press(event);
    else if (event.pointerType === "mouse") store.set({ hover: voxelUnder(event) });
  });
  element.addEventListener("pointerleave", () => store.set({ hover: null }));
  if (keyboard) {
    element.addEventListener("keydown", (event) => {
      const far = event.shiftKey ? 5 : 1;
      const move = {
        ArrowUp: [axes.row, -far],
        ArrowDown: [axes.row, far],
        ArrowLeft: [axes.column, -far],
        ArrowRight: [axes.column, far],
        PageUp: [axes.normal, 1],
        PageDown: [axes.normal, -1],
      }[event.key];
      if (!move || move[0] < 0) return;
      event.preventDefault();
      const voxel = [...store.state.voxel];
      voxel[move[0]] = clamp(voxel[move[0]] + move[1], 0, data.shape[move[0]] - 1);
      store.set({ voxel, hover: null });
    });
  }

  return {
    element,
    /** Redraw the slice of `normal` through the pinned voxel. */
    render(normal, paint, draw) {
      axes = planeAxes(data, normal);
      const [rows, columns] = [data.shape[axes.row], data.shape[axes.column]];
      [canvas.width, canvas.height] = [columns, rows];
      const picture = new ImageData(columns, rows);
      for (let r = 0, i = 0; r < rows; r++) {
        for (let c = 0; c < columns; c++, i += 4) {
          const colour = paint(onPlane(axes, store.state.voxel, r, c));
          picture.data[i] = colour[0];
          picture.data[i + 1] = colour[1];
          picture.data[i + 2] = colour[2];
          picture.data[i + 3] = 255;
        }
      }
      canvas.getContext("2d").putImageData(picture, 0, 0);
      element.style.aspectRatio = aspect(data, axes, rows, columns);
      for (const svg of [overlay, cursor]) svg.setAttribute("viewBox", `-0.5 -0.5 ${columns} ${rows}`);
      overlay.replaceChildren(...draw(axes).flat().filter(Boolean));
      this.point();
    },
    /** Redraw only what follows the pointer. */
    point(extra = () => []) {
      const [rows, columns] = [data.shape[axes.row], data.shape[axes.column]];
      const pinned = store.state.voxel;
      const [r, c] = [pinned[axes.row], pinned[axes.column]];
      const nodes = [
        h("path", { class: "moe-cross-under", d: crosshair(r, c, rows, columns) }),
        h("path", { class: "moe-cross", d: crosshair(r, c, rows, columns) }),
        ...extra(axes).flat().filter(Boolean),
      ];
      const { hover } = store.state;
      if (hover) {
        const [hr, hc] = [hover[axes.row], hover[axes.column]];
        nodes.push(h("rect", { class: "moe-hover", x: hc - 0.5, y: hr - 0.5, width: 1, height: 1 }));
      }
      cursor.replaceChildren(...nodes);
    },
    describe(text) {
      element.setAttribute("aria-label", text);
    },
  };
}

const crosshair = (r, c, rows, columns) =>
  `M-0.5 ${r}H${c - 1.5}M${c + 1.5} ${r}H${columns - 0.5}M${c} -0.5V${r - 1.5}M${c} ${r + 1.5}V${rows - 0.5}`;

/** Grid lines carried along by the displacement: the points x + u(x) of every n-th row and column. */
function deformedGrid(data, field, through, axes) {
  const [rows, columns] = [data.shape[axes.row], data.shape[axes.column]];
  const every = Math.max(2, Math.round(Math.max(rows, columns) / 16));
  const moved = (r, c) => {
    const u = displacementAt(data, field, onPlane(axes, through, r, c));
    return `${(c + u[axes.column]).toFixed(2)} ${(r + u[axes.row]).toFixed(2)}`;
  };
  let d = "";
  for (let r = 0; r < rows; r += every) for (let c = 0; c < columns; c++) d += (c ? "L" : "M") + moved(r, c);
  for (let c = 0; c < columns; c += every) for (let r = 0; r < rows; r++) d += (r ? "L" : "M") + moved(r, c);
  return h("path", { class: "moe-grid", d });
}

/** Arrows from x to x + u(x), the part of them that lies in the plane. */
function arrows(data, field, through, axes) {
  const [rows, columns] = [data.shape[axes.row], data.shape[axes.column]];
  const every = Math.max(2, Math.round(Math.max(rows, columns) / 18));
  let d = "";
  for (let r = every >> 1; r < rows; r += every)
    for (let c = every >> 1; c < columns; c += every) {
      const u = displacementAt(data, field, onPlane(axes, through, r, c));
      if (Math.hypot(u[axes.column], u[axes.row]) > 0.2) d += arrowPath(c, r, c + u[axes.column], r + u[axes.row], 0.9);
    }
  return [h("path", { class: "moe-arrows-under", d }), h("path", { class: "moe-arrows", d })];
}

/** A line with a head, at most so long and never more than most of the line. */
function arrowPath(x0, y0, x1, y1, head) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  const size = length && Math.min(head, length * 0.6) / length;
  const [dx, dy] = [(x1 - x0) * size, (y1 - y0) * size];
  const f = (v) => v.toFixed(2);
  return (
    `M${f(x0)} ${f(y0)}L${f(x1)} ${f(y1)}` +
    `M${f(x1 - dx - dy * 0.5)} ${f(y1 - dy + dx * 0.5)}L${f(x1)} ${f(y1)}L${f(x1 - dx + dy * 0.5)} ${f(y1 - dy - dx * 0.5)}`
  );
}

/** Borders between voxels of different label. */
function outlines(data, which, field, through, axes, kind) {
  const [rows, columns] = [data.shape[axes.row], data.shape[axes.column]];
  const value = (r, c) => labelAt(data, which, field, onPlane(axes, through, r, c));
  let d = "";
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const here = value(r, c);
      if (c + 1 < columns && value(r, c + 1) !== here) d += `M${c + 0.5} ${r - 0.5}v1`;
      if (r + 1 < rows && value(r + 1, c) !== here) d += `M${c - 0.5} ${r + 0.5}h1`;
    }
  return h("path", { class: `moe-outline moe-outline-${kind}`, d, "data-labels": which });
}

/** Class of the wider line below a coloured one: light below dark colours, dark below light ones. */
const under = (name, colour) => (luminance(rgb(colour)) > 0.22 ? name : `${name} moe-light-under`);

/** Squares of the chosen kernels at a voxel, true size: an expert of extent k covers k voxels of its level. */
function kernelExtents(data, layer, track, voxel, axes) {
  const { place, chosen, gates } = decisionAt(data, layer, track, voxel);
  const stride = (axis) => layer.stride[axis];
  return [...chosen].reverse().map((e) => {
    const k = layer.kernels[e];
    if (!k) return null;
    const [w, t] = [k * stride(axes.column), k * stride(axes.row)];
    const x = place[axes.column] * layer.every * stride(axes.column) - w / 2;
    const y = place[axes.row] * layer.every * stride(axes.row) - t / 2;
    const box = { x, y, width: w, height: t };
    return [
      h("rect", { class: under("moe-kernel-under", layer.colours[e]), ...box }),
      h("rect", {
        class: "moe-kernel",
        ...box,
        stroke: layer.colours[e],
        "data-expert": layer.experts[e],
        "data-extent": k,
        "stroke-opacity": 0.55 + 0.45 * gates[e],
      }),
    ];
  });
}

/** The window of a token, and where its first head looks. */
function attentionWindow(data, layer, track, voxel, axes) {
  const heads = attentionAt(data, layer, track, voxel);
  if (!heads.length) return [];
  const { low, high } = heads[0];
  const edge = (axis, v) => (v - 0.5) * layer.stride[axis];
  const box = {
    x: edge(axes.column, low[axes.column]),
    y: edge(axes.row, low[axes.row]),
    width: (high[axes.column] - low[axes.column]) * layer.stride[axes.column],
    height: (high[axes.row] - low[axes.row]) * layer.stride[axes.row],
  };
  const colour = layer.colours[heads[0].expert];
  return [
    h("rect", { class: under("moe-kernel-under", colour), ...box }),
    h("rect", { class: "moe-kernel", ...box, stroke: colour, "data-window": "true" }),
  ];
}

// ----------------------------------------------------------------------------------------------------------- 7 panels

const IMAGES = [
  ["fixed", "Fixed"],
  ["moving", "Moving"],
  ["warped", "Warped"],
  ["checkerboard", "Checker"],
  ["difference", "Difference"],
];

/** Grey value 0..255 of an intensity. */
const grey = (data, value) => {
  const { low, high } = data.images.window;
  const g = clamp((value - low) / (high - low), 0, 1) * 255;
  return [g, g, g];
};

/** How each kind of image colours a voxel. */
function imagePainter(data, kind, field) {
  const fixed = (voxel) => at(data.read(data.images.fixed), ...voxel);
  const span = data.images.window.high - data.images.window.low;
  const block = Math.max(2, Math.round(Math.max(...data.shape) / 6));
  const painters = {
    fixed: (voxel) => grey(data, fixed(voxel)),
    moving: (voxel) => grey(data, at(data.read(data.images.moving), ...voxel)),
    warped: (voxel) => grey(data, warpedAt(data, field, voxel)),
    checkerboard: (voxel) =>
      voxel.reduce((sum, v) => sum + Math.floor(v / block), 0) % 2
        ? mix(grey(data, warpedAt(data, field, voxel)), [255, 214, 150], 0.12)
        : grey(data, fixed(voxel)),
    difference: (voxel) => ramp(DIFFERENCE, 0.5 + (warpedAt(data, field, voxel) - fixed(voxel)) / span),
  };
  return painters[kind];
}

/** Which labels are outlined on which image. */
const OUTLINES = {
  fixed: [["fixed", "solid"]],
  moving: [["moving", "solid"]],
  warped: [
    ["fixed", "dashed"],
    ["warped", "solid"],
  ],
  checkerboard: [["fixed", "solid"]],
  difference: [
    ["fixed", "dashed"],
    ["warped", "solid"],
  ],
};

/** How a routed layer's map colours a voxel: the first expert, the gate of one expert, or the entropy. */
function routingPainter(data, layer, track, state) {
  const snapshot = snapshotOf(data, state.field)?.layers[layer.name];
  if (state.show === "first") {
    const colours = layer.colours.map(rgb);
    if (snapshot) {
      const first = data.read(snapshot.first);
      return (voxel) => colours[at(first, track, ...layerVoxel(layer, voxel, snapshot.every))];
    }
    const indices = data.read(layer.indices);
    return (voxel) => colours[at(indices, track, 0, ...layerVoxel(layer, voxel))];
  }
  if (state.show === "gate") {
    const [ground, full] = [groundFor(layer.colours[state.expert]), rgb(layer.colours[state.expert])];
    return (voxel) => mix(ground, full, decisionAt(data, layer, track, voxel).gates[state.expert]);
  }
  const most = Math.log(layer.experts.length);
  return (voxel) => ramp(ENTROPY, decisionAt(data, layer, track, voxel).entropy / most);
}

const snapshotOf = (data, field) => (field.startsWith("snapshot:") ? data.snapshots[field.slice(9)] : null);

/** What the field shown is, in words. */
function fieldName(data, field) {
  const [kind, number] = field.split(":");
  if (kind === "none") return "no displacement";
  if (kind === "knockout") {
    const { layer, expert } = data.knockouts[number];
    return `without ${data.layers.find(({ name }) => name === layer).experts[expert]} in ${layer}`;
  }
  if (kind === "snapshot") return `training step ${data.snapshots[number].step}`;
  if (kind === "step") return `field after step ${Number(number) + 1}`;
  return "result";
}

const card = (title, className, ...children) =>
  h("section", { class: `moe-card ${className}`, "aria-label": title }, h("h3", {}, title), ...children);

/** Column 1: the images, one plane large and the other two small. */
function imagePanel(data, store) {
  const kinds = choice({
    legend: "Image",
    options: IMAGES,
    value: store.state.image,
    onchange: (image) => store.set({ image }),
  });
  const note = h("p", { class: "moe-note" });
  const fields = h("select", { "aria-label": "Field that is applied", class: "moe-select" });
  fields.append(
    ...["result", "none", ...data.steps.map((_, i) => `step:${i}`)].map((value) =>
      h("option", { value }, value === "none" ? "before (no displacement)" : fieldName(data, value)),
    ),
  );
  const other = h("option", { value: "other", hidden: true });
  fields.append(other);
  fields.addEventListener("change", () => store.set({ field: fields.value }));
  const overlays = ["grid", "arrows", "labels", "kernels"]
    .filter((name) => name !== "labels" || data.labels)
    .map((name) => {
      const label = { grid: "Grid", arrows: "Arrows", labels: "Outlines", kernels: "Kernels" }[name];
      const button = toggle(label, store.state[name], (on) => store.set({ [name]: on }));
      return [name, button];
    });
  const pick = (voxel) => store.set({ voxel, hover: null });
  const big = createPlane(data, store, { name: "image", onpick: pick });
  const flat = data.axes.length === 2;
  const small = flat
    ? []
    : [0, 1].map((slot) => {
        const view = createPlane(data, store, { name: `image-${slot}`, onpick: pick, keyboard: false });
        const button = h("button", { type: "button", class: "moe-caption" });
        button.addEventListener("click", () => store.set({ plane: others()[slot] }));
        return { view, button, element: h("div", { class: "moe-small" }, view.element, button) };
      });
  const others = () => data.axes.map((_, axis) => axis).filter((axis) => axis !== store.state.plane);
  const slice = flat
    ? null
    : slider({
        label: "Slice",
        min: 0,
        max: 1,
        value: 0,
        oninput: (v) => {
          const voxel = [...store.state.voxel];
          voxel[store.state.plane] = v;
          store.set({ voxel, hover: null });
        },
      });
  const element = card(
    "Images",
    "moe-images",
    h("div", { class: "moe-tools" }, kinds.element),
    h("div", { class: "moe-stage" }, big.element),
    slice?.element,
    h(
      "div",
      { class: "moe-strip" },
      small.map((s) => s.element),
    ),
    h(
      "div",
      { class: "moe-tools" },
      overlays.map(([, button]) => button.element),
    ),
    h("label", { class: "moe-field" }, "Field", fields),
    note,
  );

  function draw(axes, state) {
    const { field, voxel } = state;
    const layers = [];
    if (state.labels && data.labels)
      layers.push(OUTLINES[state.image].map(([which, kind]) => outlines(data, which, field, voxel, axes, kind)));
    if (state.grid) layers.push(deformedGrid(data, field, voxel, axes));
    if (state.arrows) layers.push(arrows(data, field, voxel, axes));
    return layers.flat();
  }
  const extra = (state) => (axes) => {
    const layer = data.layers[state.layer];
    if (!state.kernels || !layer) return [];
    if (layer.attention) return attentionWindow(data, layer, state.track, focus(state), axes);
    return kernelExtents(data, layer, state.track, focus(state), axes);
  };
  function update(state, keys) {
    const redraw = ["voxel", "plane", "image", "field", "grid", "arrows", "labels", "data"].some((k) => keys.has(k));
    const normal = flat ? -1 : state.plane;
    if (redraw) {
      const paint = imagePainter(data, state.image, state.field);
      big.render(normal, paint, (axes) => draw(axes, state));
      small.forEach(({ view, button }, slot) => {
        const axis = others()[slot];
        view.render(axis, paint, (axes) => draw(axes, state));
        const label = `${PLANE_NAMES[data.axes[axis]]} · ${data.axes[axis]} ${state.voxel[axis]}`;
        button.textContent = label;
        button.setAttribute("aria-label", `Enlarge ${label}`);
      });
      kinds.set(state.image);
      const both = state.labels && OUTLINES[state.image].length === 2;
      note.textContent = both ? "Outlines: warped solid, fixed dashed." : "";
      const listed = [...fields.options].some((option) => option.value === state.field);
      other.textContent = listed ? "" : fieldName(data, state.field);
      fields.value = listed ? state.field : "other";
      if (slice) {
        const axis = data.axes[state.plane];
        slice.caption.textContent = `${axis} slice`;
        slice.set(state.voxel[state.plane], `${state.voxel[state.plane]}`, data.shape[state.plane] - 1);
      }
      const kind = IMAGES.find(([key]) => key === state.image)[1];
      big.describe(
        `${kind} image, ${planeName(data, normal)}. Arrow keys move the voxel` +
          (flat ? "." : ", Page Up and Page Down change the slice."),
      );
    }
    overlays.forEach(([name, button]) => {
      button.element.hidden = name === "kernels" && !data.layers.length;
      button.set(state[name]);
      if (name === "kernels") button.relabel(data.layers[state.layer]?.attention ? "Window" : "Kernels");
    });
    for (const view of [big, ...small.map((s) => s.view)]) view.point(extra(state));
  }
  return { element, update };
}

const SHOWS = [
  ["first", "First expert"],
  ["gate", "Gate"],
  ["entropy", "Entropy"],
];

/** What the maps of a layer are told apart by. */
const trackLegend = (layer) => (layer.proposals ? "Direction" : "Token of");

/** Column 2: maps of the routed layer, the chosen direction large, the others small. */
function routingPanel(data, store) {
  const layers = h(
    "select",
    { class: "moe-select", "aria-label": "Routed layer" },
    data.layers.map(({ name }, i) => h("option", { value: i }, name)),
  );
  layers.addEventListener("change", () => store.set(forLayer(data, store.state, Number(layers.value))));
  const shows = choice({
    legend: "Map",
    options: SHOWS,
    value: store.state.show,
    onchange: (show) => store.set({ show }),
  });
  const tracks = h("div", { class: "moe-slot" });
  const legend = h("div", { class: "moe-slot" });
  const scale = h("p", { class: "moe-scale" });
  const big = createPlane(data, store, { name: "map", onpick: (voxel) => store.set({ voxel, hover: null }) });
  const strip = h("div", { class: "moe-strip" });
  const note = h("p", { class: "moe-note" });
  let trackChoice, expertChoice, small;

  /** Everything whose number depends on the layer. */
  function rebuild(state) {
    const layer = data.layers[state.layer];
    trackChoice = choice({
      legend: trackLegend(layer),
      options: layer.tracks.map((name, i) => [i, name]),
      value: state.track,
      onchange: (track) => store.set({ track }),
      compact: true,
    });
    expertChoice = choice({
      legend: layer.kernels[0] ? "Expert (kernel)" : "Expert (head)",
      options: layer.experts.map((name, i) => [i, name.replace(/^head /, ""), layer.colours[i]]),
      value: state.expert,
      onchange: (expert) => store.set({ expert, show: "gate" }),
      compact: true,
    });
    tracks.replaceChildren(trackChoice.element);
    legend.replaceChildren(expertChoice.element);
    small = Array.from({ length: Math.min(layer.tracks.length - 1, 2) }, (_, slot) => {
      const track = () => layer.tracks.map((_, i) => i).filter((i) => i !== store.state.track)[slot];
      const view = createPlane(data, store, {
        name: `map-${slot}`,
        onpick: (voxel) => store.set({ voxel, hover: null }),
        keyboard: false,
      });
      const button = h("button", { type: "button", class: "moe-caption" });
      button.addEventListener("click", () => store.set({ track: track() }));
      return { view, button, track, element: h("div", { class: "moe-small" }, view.element, button) };
    });
    strip.replaceChildren(...small.map((s) => s.element));
  }

  const element = card(
    "Routing",
    "moe-routing",
    h("div", { class: "moe-tools" }, layers, tracks),
    h("div", { class: "moe-stage" }, big.element),
    h("div", { class: "moe-tools" }, shows.element, scale),
    h("div", { class: "moe-tools" }, legend),
    strip,
    note,
  );

  function update(state, keys) {
    const layer = data.layers[state.layer];
    if (keys.has("layer") || keys.has("data")) rebuild(state);
    const redraw = ["voxel", "plane", "layer", "track", "expert", "show", "field", "labels", "data"];
    if (redraw.some((k) => keys.has(k))) {
      layers.value = state.layer;
      shows.set(state.show);
      shows.relabel("gate", `Gate of ${layer.experts[state.expert]}`);
      trackChoice.set(state.track);
      expertChoice.set(state.expert);
      const normal = data.axes.length === 2 ? -1 : state.plane;
      const outline = (axes) =>
        state.labels && data.labels ? [outlines(data, "fixed", "result", state.voxel, axes, "map")] : [];
      big.render(normal, routingPainter(data, layer, state.track, state), outline);
      small.forEach(({ view, button, track }) => {
        view.render(normal, routingPainter(data, layer, track(), state), outline);
        const label = `${trackLegend(layer).toLowerCase()} ${layer.tracks[track()]}`;
        button.textContent = label;
        button.setAttribute("aria-label", `Enlarge ${label}`);
      });
      scale.replaceChildren(...scaleFor(layer, state));
      big.describe(
        `${mapName(layer, state)}, ${layer.name}, ${trackLegend(layer).toLowerCase()} ${layer.tracks[state.track]}. ` +
          "Arrow keys move the voxel.",
      );
      note.textContent =
        (layer.every > 1 ? `Every ${ordinal(layer.every - 1)} voxel of this layer is stored. ` : "") +
        `Grid ${layer.grid.join("\u2009×\u2009")}, one voxel of it is ${layer.stride[0]} of the image. ` +
        `${layer.k} of ${layer.experts.length} experts are chosen.`;
    }
    for (const view of [big, ...small.map((s) => s.view)]) view.point();
  }
  return { element, update };
}

const mapName = (layer, state) =>
  ({ first: "First expert", gate: `Gate of ${layer.experts[state.expert]}`, entropy: "Entropy of the router" })[
    state.show
  ];

/** The colour scale of a gate or entropy map. */
function scaleFor(layer, state) {
  if (state.show === "first") return [];
  const gate = state.show === "gate";
  const stops = gate ? [groundFor(layer.colours[state.expert]), rgb(layer.colours[state.expert])] : ENTROPY;
  const most = gate ? "1" : `${plain(Math.log(layer.experts.length))} nats`;
  const bar = h("i", {
    class: "moe-ramp",
    style: { background: `linear-gradient(90deg, ${stops.map(cssColour).join(", ")})` },
  });
  return ["0", bar, most];
}

/** State for another layer: its tracks and experts are other ones. */
function forLayer(data, state, layer) {
  const { tracks, experts } = data.layers[layer];
  return { layer, track: Math.min(state.track, tracks.length - 1), expert: Math.min(state.expert, experts.length - 1) };
}

/** Column 3: what happened at the voxel. */
function voxelPanel(data, store) {
  const heading = h("p", { class: "moe-where" });
  const lens = h("div", { class: "moe-lenses" });
  const table = h("div", { class: "moe-scroll" });
  const sums = h("div", { class: "moe-sums" });
  const live = h("p", { class: "moe-live", role: "status", "aria-live": "polite" });
  const element = card("At this voxel", "moe-voxel", heading, lens, table, sums, live);
  const pocket = h("div", { class: "moe-pocket", "aria-hidden": "true" });
  let timer;

  function update(state) {
    const voxel = focus(state);
    const u = displacementAt(data, state.field, voxel);
    element.dataset.voxel = voxel.join(",");
    const organ = labelName(data, labelAt(data, "fixed", state.field, voxel));
    const other = !["result", "none"].includes(state.field);
    heading.replaceChildren(
      h("strong", {}, voxel.map((v, axis) => `${data.axes[axis]} ${v}`).join("\u2002")),
      h("span", {}, organ || "no label"),
      h("span", { "data-displacement": u.join(",") }, `u = (${u.map((v) => signed(v)).join(", ")})`),
    );
    const layer = data.layers[state.layer];
    const decision = layer && decisionAt(data, layer, state.track, voxel);
    if (layer) updateDecision(state, layer, decision);
    if (layer && other) heading.append(h("span", {}, "decisions are those of the result"));
    clearTimeout(timer);
    timer = setTimeout(() => (live.textContent = spoken(data, state, u, decision)), 200);
  }
  function updateDecision(state, layer, decision) {
    const shares = contributionsAt(data, layer, focus(state));
    lens.replaceChildren(...lenses(data, layer, state));
    table.replaceChildren(routeTable(data, layer, state, decision, ownShare(data, layer, state.track, shares)));
    const held = sums.contains(document.activeElement) && document.activeElement.dataset.direction;
    sums.replaceChildren(...(shares ? shareBars(data, layer, shares, state, (track) => store.set({ track })) : []));
    if (held) sums.querySelector(`[data-direction="${held}"]`)?.focus();
    pocket.replaceChildren(...pocketBar(layer, decision, heading.cloneNode(true)));
  }
  return { element, update, pocket };
}

/** The decision in one line, for a narrow screen where the finger is far from the panel. */
function pocketBar(layer, { chosen, gates }, heading) {
  heading.lastChild.removeAttribute("data-displacement"); // of the two, the panel's is the one to ask
  const total = chosen.reduce((sum, e) => sum + gates[e], 0) || 1;
  const pieces = chosen.map((e) => loadPiece(layer, e, gates[e] / total, `${layer.experts[e]} ${gates[e].toFixed(2)}`));
  return [heading, h("span", { class: "moe-track moe-stack" }, pieces)];
}

/** A piece of a stacked bar in an expert's colour, with a name where there is room. */
function loadPiece(layer, e, share, text) {
  const colour = layer.colours[e];
  const tone = luminance(rgb(colour)) > 0.22 ? "moe-dark-text" : "moe-light-text";
  const style = { width: `${share * 100}%`, background: colour };
  return h("i", { class: tone, style, title: `${layer.experts[e]} ${percent(share)}` }, share > 0.14 ? text : "");
}

/** Experts' shares of the direction that a track decides on; null where one decision serves all directions. */
const ownShare = (data, layer, track, shares) =>
  shares && layer.tracks.length === data.axes.length ? shares[track] : null;

/** A close look at the voxel, as far as the layer has something to show. */
function lenses(data, layer, state) {
  if (layer.attention) return attentionLenses(data, layer, state);
  return layer.kernels[0] ? [kernelLens(data, layer, state)] : [];
}

/** The live text: where, what was decided, what it moved. */
function spoken(data, state, u, decision) {
  const voxel = focus(state);
  const where = voxel.map((v, axis) => `${data.axes[axis]} ${v}`).join(", ");
  const organ = labelName(data, labelAt(data, "fixed", state.field, voxel));
  const place = `Voxel ${where}${organ ? `, ${organ}` : ""}`;
  if (!decision) return `${place}, displacement ${u.map(spokenNumber).join(", ")} voxels.`;
  const layer = data.layers[state.layer];
  const share = ownShare(data, layer, state.track, contributionsAt(data, layer, voxel));
  const parts = decision.chosen.map((e) => {
    const moved = share ? ` moves ${spokenNumber(share[e])}` : "";
    return `${layer.experts[e]} gate ${decision.gates[e].toFixed(2)}${moved}`;
  });
  const track = `${trackLegend(layer).toLowerCase()} ${layer.tracks[state.track]}`;
  const total = share?.reduce((a, b) => a + b, 0);
  const sum = share ? `; together ${spokenNumber(total)} voxels of this level.` : ".";
  return `${place}. ${layer.name}, ${track}: ${parts.join("; ")}${sum}`;
}

/** A bar from zero; `low` and `high` are the ends of its scale. */
function bar(value, low, high, colour) {
  const place = (v) => ((clamp(v, low, high) - low) / (high - low)) * 100;
  const [a, b] = [place(Math.min(0, value)), place(Math.max(0, value))];
  return h(
    "span",
    { class: "moe-bar", "aria-hidden": "true" },
    low < 0 ? h("i", { class: "moe-zero", style: { left: `${place(0)}%` } }) : null,
    h("i", { style: { left: `${a}%`, width: `${Math.max(b - a, 0)}%`, background: colour } }),
  );
}

/** Logits -> softmax -> top-k -> gates (-> share of the displacement), one row per expert. */
function routeTable(data, layer, state, { logits, probabilities, chosen, gates }, share) {
  const reach = Math.max(1, ...logits.map(Math.abs));
  const span = share ? Math.max(0.1, ...share.map(Math.abs)) : 1;
  const cell = (name, value, text, low, high, colour) =>
    h("td", { "data-value": name, "data-number": value }, h("span", {}, text), bar(value, low, high, colour));
  const rows = layer.experts.map((name, e) => {
    const rank = chosen.indexOf(e);
    const colour = layer.colours[e];
    const out = layer.left_out.includes(e);
    return h(
      "tr",
      { "data-expert": name, class: rank < 0 ? "moe-dropped" : "", "aria-current": e === state.expert ? "true" : null },
      h("th", { scope: "row" }, h("i", { class: "moe-swatch", style: { background: colour } }), name),
      cell("logit", logits[e], out ? "out" : signed(logits[e]), -reach, reach, colour),
      cell("softmax", probabilities[e], probabilities[e].toFixed(2), 0, 1, colour),
      h("td", { "data-value": "rank", "data-number": rank }, rank < 0 ? "\u2013" : ordinal(rank)),
      cell("gate", gates[e], rank < 0 ? "0" : gates[e].toFixed(2), 0, 1, colour),
      share ? cell("share", share[e], rank < 0 ? "0" : signed(share[e]), -span, span, colour) : null,
    );
  });
  const head = ["Expert", "Logit", "Softmax", `Top\u2011${layer.k}`, "Gate", ...(share ? ["Moves"] : [])];
  return h(
    "table",
    { class: "moe-route" },
    h("caption", {}, `${layer.name}, ${trackLegend(layer).toLowerCase()} ${layer.tracks[state.track]}`),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head.map((text) => h("th", { scope: "col" }, text)),
      ),
    ),
    h("tbody", {}, rows),
  );
}

/** For each direction: the experts' shares laid end to end, and their sum. */
function shareBars(data, layer, shares, state, onpick) {
  const totals = shares.map((row) => row.reduce((a, b) => a + b, 0));
  const span = Math.max(0.25, ...shares.map((row) => row.reduce((sum, v) => sum + Math.abs(v), 0)));
  const place = (v) => 50 + (v / span) * 48;
  const rows = shares.map((row, direction) => {
    let [left, right] = [0, 0];
    const pieces = row.map((value, e) => {
      if (!value) return null;
      const start = value < 0 ? (left += value) : right;
      if (value > 0) right += value;
      return h("i", {
        class: "moe-piece",
        title: `${layer.experts[e]} ${signed(value)}`,
        style: { left: `${place(start)}%`, width: `${(Math.abs(value) / span) * 48}%`, background: layer.colours[e] },
      });
    });
    return h(
      "button",
      {
        type: "button",
        class: "moe-sum",
        "data-direction": data.axes[direction],
        "data-total": totals[direction],
        "aria-label": `Direction ${data.axes[direction]}, sum ${signed(totals[direction])} voxels`,
        "aria-pressed": String(direction === state.track),
        onclick: () => direction < layer.tracks.length && onpick(direction),
      },
      h("b", {}, data.axes[direction]),
      h(
        "span",
        { class: "moe-track" },
        h("i", { class: "moe-zero", style: { left: "50%" } }),
        pieces,
        h("i", { class: "moe-total", style: { left: `${place(totals[direction])}%` } }),
      ),
      h("span", { class: "moe-number" }, signed(totals[direction])),
    );
  });
  return [
    h("p", { class: "moe-note" }, "Experts\u2019 shares add up to this level\u2019s step, in voxels of the level."),
    ...rows,
  ];
}

/** A close look at the voxel: the image around it, kernels at true size, the experts' arrows head to tail. */
function kernelLens(data, layer, state) {
  const voxel = focus(state);
  const axes = planeAxes(data, data.axes.length === 2 ? -1 : state.plane);
  const { place, chosen, gates } = decisionAt(data, layer, state.track, voxel);
  const reach = Math.max(...layer.kernels.map((k) => k ?? 1)) / 2 + 0.75; // in voxels of the level
  const centre = place.map((p, axis) => p * layer.every * layer.stride[axis]);
  const canvas = lensCanvas(data, axes, voxel, centre, reach, state);
  const box = `${-reach} ${-reach} ${2 * reach} ${2 * reach}`;
  const kernels = layer.kernels.map((k, e) => {
    const on = chosen.includes(e);
    const shape = { x: -k / 2, y: -k / 2, width: k, height: k };
    return [
      on ? h("rect", { class: under("moe-kernel-under", layer.colours[e]), ...shape }) : null,
      h("rect", {
        class: on ? "moe-kernel" : "moe-kernel moe-kernel-off",
        ...shape,
        stroke: layer.colours[e],
        "stroke-opacity": on ? 0.55 + 0.45 * gates[e] : 0.8,
      }),
    ];
  });
  const chain = arrowChain(data, layer, voxel, axes, reach);
  const svg = h("svg", { viewBox: box, preserveAspectRatio: "none", "aria-hidden": "true" }, kernels, chain.nodes);
  const note = chain.scale === 1 ? "arrows at true size" : `arrows ×${chain.scale}`;
  return h(
    "figure",
    { class: "moe-lens" },
    h("div", { style: { "aspect-ratio": aspect(data, axes, 1, 1) } }, canvas, svg),
    h("figcaption", {}, `Kernels at true size, one square is one voxel of the level; ${note}`),
  );
}

/** The image around a voxel, `reach` voxels of the level to each side, as pixels of the image. */
function lensCanvas(data, axes, voxel, centre, reach, state) {
  const layer = data.layers[state.layer];
  const fine = 4;
  const size = Math.round(2 * reach * fine);
  const canvas = h("canvas", { width: size, height: size, "aria-hidden": "true" });
  const picture = new ImageData(size, size);
  const paint = imagePainter(data, state.image, state.field);
  for (let r = 0, i = 0; r < size; r++)
    for (let c = 0; c < size; c++, i += 4) {
      const row = Math.round(centre[axes.row] + ((r + 0.5) / fine - reach) * layer.stride[axes.row]);
      const column = Math.round(centre[axes.column] + ((c + 0.5) / fine - reach) * layer.stride[axes.column]);
      const inside = row >= 0 && column >= 0 && row < data.shape[axes.row] && column < data.shape[axes.column];
      const colour = inside ? paint(onPlane(axes, voxel, row, column)) : [0, 0, 0];
      picture.data.set([...colour.map((v) => v * 0.8), inside ? 255 : 0], i);
    }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** In-plane shares of the experts as arrows head to tail from the voxel, and their sum in white. */
function arrowChain(data, layer, voxel, axes, reach) {
  const shares = contributionsAt(data, layer, voxel);
  if (!shares) return { nodes: [], scale: 1 };
  const steps = layer.experts
    .map((_, e) => [e, shares[axes.column][e], shares[axes.row][e]])
    .filter(([, x, y]) => Math.hypot(x, y) > 1e-3);
  const sum = steps.reduce(([x, y], [, dx, dy]) => [x + dx, y + dy], [0, 0]);
  const longest = Math.max(Math.hypot(...sum), ...steps.map(([, x, y]) => Math.hypot(x, y)), 1e-6);
  const scale = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].findLast((s) => longest * s < reach * 0.9) ?? 0.1;
  let [x, y] = [0, 0];
  const nodes = [
    h("path", { class: "moe-chain-sum", d: arrowPath(0, 0, sum[0] * scale, sum[1] * scale, 0.5) }),
    ...steps.flatMap(([e, dx, dy]) => {
      const d = arrowPath(x * scale, y * scale, (x + dx) * scale, (y + dy) * scale, 0.45);
      [x, y] = [x + dx, y + dy];
      return [
        h("path", { class: under("moe-chain-under", layer.colours[e]), d }),
        h("path", { class: "moe-chain", d, stroke: layer.colours[e], "data-expert": layer.experts[e] }),
      ];
    }),
  ];
  return { nodes, scale };
}

/** For each chosen head: the token's window in the image it looks at, a disc on every token it attends to. */
function attentionLenses(data, layer, state) {
  const axes = planeAxes(data, data.axes.length === 2 ? -1 : state.plane);
  const voxel = focus(state);
  const own = layer.tracks[state.track].includes("moving") ? "moving" : "fixed";
  const source = layer.attention.cross ? { moving: "fixed", fixed: "moving" }[own] : own;
  return attentionAt(data, layer, state.track, voxel).map((head) =>
    attentionLens(data, layer, axes, voxel, source, head),
  );
}

function attentionLens(data, layer, axes, voxel, source, { expert, gate, low, high, tokens, weights }) {
  const { place } = decisionAt(data, layer, 0, voxel);
  const most = Math.max(...weights);
  const inSlice = tokens
    .map((token, i) => [token, weights[i]])
    .filter(([token]) => axes.normal < 0 || token[axes.normal] === place[axes.normal]);
  const seen = inSlice.reduce((sum, [, weight]) => sum + weight, 0);
  const [rows, columns] = [high[axes.row] - low[axes.row], high[axes.column] - low[axes.column]];
  const discs = inSlice.map(([token, weight]) =>
    h("circle", {
      class: "moe-disc",
      cx: token[axes.column] - low[axes.column] + 0.5,
      cy: token[axes.row] - low[axes.row] + 0.5,
      r: 0.46 * Math.sqrt(weight / most),
      fill: layer.colours[expert],
      "data-token": token.join(","),
      "data-weight": weight,
    }),
  );
  const [tx, ty] = [place[axes.column] - low[axes.column], place[axes.row] - low[axes.row]];
  const svg = h(
    "svg",
    { viewBox: `0 0 ${columns} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    discs,
    h("rect", { class: "moe-token", x: tx, y: ty, width: 1, height: 1 }),
  );
  return h(
    "figure",
    { class: "moe-lens moe-attention", "data-head": layer.experts[expert], "data-source": source },
    h(
      "div",
      { style: { "aspect-ratio": aspect(data, axes, rows, columns) } },
      windowCanvas(data, layer, axes, voxel, source, low, high),
      svg,
    ),
    h(
      "figcaption",
      {},
      h("i", { class: "moe-swatch", style: { background: layer.colours[expert] } }),
      ` ${layer.experts[expert]}, gate ${gate.toFixed(2)}, looks at the ${source} image: ` +
        `${percent(seen)} in this slice, at most ${percent(most)} on one token`,
    ),
  );
}

/** The part of an image that a window of tokens covers. */
function windowCanvas(data, layer, axes, voxel, source, low, high) {
  const [sr, sc] = [layer.stride[axes.row], layer.stride[axes.column]];
  const rows = (high[axes.row] - low[axes.row]) * sr;
  const columns = (high[axes.column] - low[axes.column]) * sc;
  const canvas = h("canvas", { width: columns, height: rows, "aria-hidden": "true" });
  const picture = new ImageData(columns, rows);
  const paint = imagePainter(data, source, "result");
  for (let r = 0, i = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, i += 4) {
      // The first token's voxels begin half a stride before it.
      const row = clamp(low[axes.row] * sr + r - (sr >> 1), 0, data.shape[axes.row] - 1);
      const column = clamp(low[axes.column] * sc + c - (sc >> 1), 0, data.shape[axes.column] - 1);
      picture.data.set([...paint(onPlane(axes, voxel, row, column)).map((v) => v * 0.7), 255], i);
    }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

/** Load of every expert in every layer and direction, and a way to get there. */
function loadPanel(data, store) {
  const rows = [];
  const groups = data.layers.map((layer, l) =>
    h(
      "div",
      { class: "moe-loads", role: "group", "aria-label": layer.name },
      h("h4", {}, layer.name),
      layer.tracks.map((name, track) => {
        const bars = h("span", { class: "moe-track moe-stack", "aria-hidden": "true" });
        const button = h(
          "button",
          { type: "button", class: "moe-sum", "data-load": `${layer.name}/${name}` },
          h("b", {}, name),
          bars,
        );
        button.addEventListener("click", () => store.set({ ...forLayer(data, store.state, l), track }));
        rows.push({ l, track, name, bars, button });
        return button;
      }),
    ),
  );
  const note = h("p", { class: "moe-note" });
  const element = card("Load", "moe-load", note, h("div", { class: "moe-groups" }, groups));
  function update(state, keys) {
    if (!["layer", "track", "expert", "field", "data"].some((k) => keys.has(k))) return;
    const snapshot = snapshotOf(data, state.field);
    note.textContent = `Share of assignments each expert got${snapshot ? ` at training step ${snapshot.step}` : ""}.`;
    for (const { l, track, name, bars, button } of rows) {
      const layer = data.layers[l];
      const load = snapshot?.layers[layer.name]?.load[track] ?? layer.load[track];
      button.setAttribute("aria-pressed", String(l === state.layer && track === state.track));
      const words = layer.experts.map((expert, e) => `${expert} ${Math.round(load[e] * 100)} percent`).join(", ");
      button.setAttribute("aria-label", `${layer.name} ${name}: ${words}`);
      bars.replaceChildren(
        ...load.map((share, e) => loadPiece(layer, e, share, layer.experts[e].replace(/^head /, ""))),
      );
    }
  }
  return { element, update };
}

const METRICS = { dice: ["Dice", 3], endpoint_error: ["Error", 2], folds: ["Folds", 4] };

/** The result without one expert: what it changes, and how well the images still match. */
function knockoutPanel(data, store) {
  const body = h("tbody");
  const head = h("tr");
  const name = uniqueId("knockout");
  const caption = h("caption");
  const element = card(
    "Knock-out",
    "moe-knockout",
    h("p", { class: "moe-note" }, "The network was run again without one expert of this layer."),
    h("div", { class: "moe-scroll" }, h("table", { class: "moe-route" }, caption, h("thead", {}, head), body)),
  );
  function row(field, label, swatch, values) {
    const id = uniqueId("without");
    const input = h("input", { type: "radio", name, id, value: field, onchange: () => store.set({ field }) });
    return h(
      "tr",
      { "data-field": field },
      h(
        "th",
        { scope: "row" },
        input,
        h("label", { for: id }, swatch ? h("i", { class: "moe-swatch", style: { background: swatch } }) : null, label),
      ),
      values.map((value) => h("td", { "data-number": value?.number ?? null }, value?.text ?? "", value?.bar ?? null)),
    );
  }
  function update(state, keys) {
    if (!["layer", "field", "data"].some((k) => keys.has(k))) return;
    const layer = data.layers[state.layer];
    const mine = data.knockouts.map((k, i) => [k, i]).filter(([k]) => k.layer === layer.name);
    element.hidden = !mine.length;
    if (!mine.length) return;
    if (keys.has("layer") || keys.has("data")) {
      caption.textContent = layer.name;
      const shown = Object.keys(METRICS).filter((key) => key in data.metrics);
      const heads = ["Left out", "Field changes", ...shown.map((key) => METRICS[key][0])];
      head.replaceChildren(...heads.map((text) => h("th", { scope: "col" }, text)));
      const most = Math.max(...mine.map(([k]) => k.change), 1e-6);
      const numbers = (metrics) =>
        shown.map((key) => ({ number: metrics[key], text: plain(metrics[key], METRICS[key][1]) }));
      body.replaceChildren(
        row("result", "none", null, [null, ...numbers(data.metrics)]),
        ...mine.map(([k, i]) =>
          row(`knockout:${i}`, layer.experts[k.expert], layer.colours[k.expert], [
            { number: k.change, text: plain(k.change), bar: bar(k.change, 0, most, layer.colours[k.expert]) },
            ...numbers(k.metrics),
          ]),
        ),
      );
    }
    for (const input of body.querySelectorAll("input")) input.checked = input.value === state.field;
  }
  return { element, update };
}

/** Saved steps of the training: a slider, a play button, and the load of the chosen layer over time. */
function trainingPanel(data, store) {
  if (data.snapshots.length < 2) return null;
  const last = data.snapshots.length - 1;
  const scrub = slider({
    label: "Training step",
    min: 0,
    max: last,
    value: last,
    oninput: (i) => store.set({ field: `snapshot:${i}` }),
  });
  let timer = null;
  const play = toggle("Play", false, (on) => (on ? start() : stop()));
  const start = () => {
    play.set(true);
    play.element.textContent = "Pause";
    if (shownIndex(store.state) === last) store.set({ field: "snapshot:0" });
    timer = setInterval(() => {
      const next = shownIndex(store.state) + 1;
      if (next > last) stop();
      else store.set({ field: `snapshot:${next}` });
    }, 700);
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.set(false);
    play.element.textContent = "Play";
  };
  const back = h(
    "button",
    { type: "button", class: "moe-toggle", onclick: () => store.set({ field: "result" }) },
    "Result",
  );
  const chart = h("svg", {
    class: "moe-chart",
    viewBox: "0 0 300 80",
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  const note = h("p", { class: "moe-note" });
  const shownIndex = (state) => (state.field.startsWith("snapshot:") ? Number(state.field.slice(9)) : last);
  const element = card(
    "Training",
    "moe-training",
    note,
    chart,
    scrub.element,
    h("div", { class: "moe-tools" }, play.element, back),
  );
  function update(state, keys) {
    if (!["layer", "track", "field", "data"].some((k) => keys.has(k))) return;
    const layer = data.layers[state.layer];
    const shown = shownIndex(state);
    const snapshot = data.snapshots[shown];
    scrub.set(shown, `step ${snapshot.step}`);
    note.textContent =
      `Load of ${layer.name}, ${trackLegend(layer).toLowerCase()} ${layer.tracks[state.track]}, while it was trained.` +
      ("dice" in snapshot.metrics ? ` Dice at step ${snapshot.step}: ${plain(snapshot.metrics.dice, 3)}.` : "");
    const x = (i) => (i / last) * 300;
    let floor = data.snapshots.map(() => 0);
    const areas = layer.experts.map((name, e) => {
      const top = data.snapshots.map((s, i) => floor[i] + (s.layers[layer.name]?.load[state.track][e] ?? 0));
      const up = top.map((v, i) => `${x(i).toFixed(1)} ${(80 - v * 80).toFixed(1)}`);
      const down = floor.map((v, i) => `${x(i).toFixed(1)} ${(80 - v * 80).toFixed(1)}`).reverse();
      floor = top;
      return h("path", { d: `M${[...up, ...down].join("L")}Z`, class: "moe-area", style: { fill: layer.colours[e] } });
    });
    chart.replaceChildren(...areas, h("path", { class: "moe-marker", d: `M${x(shown)} 0V80` }));
  }
  return { element, update, destroy: stop };
}

const TEMPERATURES = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8];

/** Controls that run the network again in Python: experts in use, k, temperature of the router's softmax. */
function livePanel(data, store) {
  const experts = h("fieldset", { class: "moe-checks" });
  const note = h("p", { class: "moe-note" });
  const scores = h("p", { class: "moe-scores", role: "status" });
  const name = () => data.layers[store.state.layer].name;
  const change = (key, value) => store.set({ [key]: value, field: "result", busy: true });
  const k = slider({
    label: "Experts per voxel, k",
    min: 1,
    max: 2,
    value: 1,
    oninput: (value) => change("k", { ...store.state.k, [name()]: value }),
  });
  const warmth = slider({
    label: "Softmax temperature",
    min: 0,
    max: TEMPERATURES.length - 1,
    value: 4,
    oninput: (i) => change("temperature", TEMPERATURES[i]),
  });
  const reset = h(
    "button",
    {
      type: "button",
      class: "moe-toggle",
      onclick: () => store.set({ k: {}, without: {}, temperature: 1, field: "result", busy: true }),
    },
    "As trained",
  );
  const element = card("Run again", "moe-again", note, experts, k.element, warmth.element, reset, scores);
  element.hidden = true;

  function leaveOut(expert, out) {
    const { without } = store.state;
    const now = new Set(without[name()] ?? []);
    if (out) now.add(expert);
    else now.delete(expert);
    change("without", { ...without, [name()]: [...now].sort() });
  }
  function update(state, keys) {
    element.hidden = !state.live;
    if (!state.live || !["layer", "live", "k", "without", "temperature", "busy", "data"].some((key) => keys.has(key)))
      return;
    const layer = data.layers[state.layer];
    const out = new Set(state.without[layer.name] ?? []);
    const held = experts.contains(document.activeElement) ? document.activeElement.value : null;
    experts.replaceChildren(
      h("legend", {}, `Experts in use, ${layer.name}`),
      ...layer.experts.map((expert, e) => {
        const last = !out.has(expert) && out.size === layer.experts.length - 1;
        const input = h("input", { type: "checkbox", value: expert, disabled: last });
        input.checked = !out.has(expert);
        input.addEventListener("change", () => leaveOut(expert, !input.checked));
        return h("label", {}, input, h("i", { class: "moe-swatch", style: { background: layer.colours[e] } }), expert);
      }),
    );
    if (held) experts.querySelector(`input[value="${CSS.escape(held)}"]`)?.focus();
    const most = layer.experts.length - out.size;
    k.set(Math.min(state.k[layer.name] ?? layer.k, most), `${Math.min(state.k[layer.name] ?? layer.k, most)}`, most);
    const place = TEMPERATURES.reduce(
      (best, t, i) => (Math.abs(t - state.temperature) < Math.abs(TEMPERATURES[best] - state.temperature) ? i : best),
      0,
    );
    warmth.set(place, `${state.temperature}`);
    note.textContent = "A change runs the network again on this pair.";
    const trained = data.trained ?? data.metrics;
    scores.textContent = state.busy
      ? "Running…"
      : Object.keys(METRICS)
          .filter((key) => key in data.metrics)
          .map(
            (key) =>
              `${METRICS[key][0]} ${plain(data.metrics[key], METRICS[key][1])} (as trained ${plain(trained[key], METRICS[key][1])})`,
          )
          .join(", ");
    element.dataset.busy = String(Boolean(state.busy));
  }
  return { element, update };
}

// ----------------------------------------------------------------------------------------------------- 8 the explorer

/** State of a first look: the voxel and plane the payload proposes, the finest decoder layer. */
function initialState(data) {
  return {
    voxel: data.start ?? data.shape.map((size) => size >> 1),
    hover: null,
    plane: data.plane ?? 0,
    layer: 0,
    track: 0,
    expert: 0,
    image: "warped",
    show: "first",
    field: "result",
    grid: false,
    arrows: false,
    labels: Boolean(data.labels),
    kernels: true,
    live: false, // is there a Python that runs the network again?
    busy: false,
    k: {},
    without: {},
    temperature: 1,
  };
}

/**
 * Build the explorer of an opened payload into `root`.
 *
 * Returns `{store, destroy}`: `store.state` is what is looked at, `store.set({voxel: [12, 20, 31]})` changes it.
 */
export function createExplorer(root, data, state = {}) {
  const store = createStore({ ...initialState(data), ...state });
  // A model without routed layers has images and a displacement at every voxel, and no more.
  const routed = data.layers.length > 0;
  const build = (list) => list.map((panel) => panel(data, store)).filter(Boolean);
  const main = build(routed ? [imagePanel, routingPanel, voxelPanel] : [imagePanel, voxelPanel]);
  const more = build(routed ? [loadPanel, knockoutPanel, livePanel, trainingPanel] : []);
  const panels = [...main, ...more];
  const badge = h("span", { class: "moe-badge" });
  const view = h(
    "div",
    { class: "moe", role: "region", "aria-label": `Explorer: ${data.title}` },
    h("header", { class: "moe-head" }, h("h2", {}, data.title), badge),
    h(
      "div",
      { class: "moe-columns" },
      main.map(({ element }) => element),
    ),
    h(
      "div",
      { class: "moe-more" },
      more.map(({ element }) => element),
    ),
    main.at(-1).pocket,
  );
  root.replaceChildren(view);
  const stopTheme = followTheme(view);
  const all = new Set([...Object.keys(store.state), "data"]);
  const update = (current, keys) => {
    badge.textContent = current.field === "result" ? "" : `Shown: ${fieldName(data, current.field)}`;
    for (const panel of panels) panel.update(current, keys);
  };
  update(store.state, all);
  const unsubscribe = store.subscribe(update);
  view.dataset.ready = "true";
  return {
    store,
    /** Show another result of the same network and pair. */
    replace(other) {
      Object.assign(data, other);
      const kept = data.knockouts.length || !store.state.field.startsWith("knockout:");
      store.set({ busy: false, field: kept ? store.state.field : "result" });
      update(store.state, all);
    },
    destroy() {
      unsubscribe();
      stopTheme();
      panels.forEach((panel) => panel.destroy?.());
      view.remove();
    },
  };
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
  return () => {
    system.removeEventListener("change", decide);
    observer.disconnect();
  };
}

// --------------------------------------------------------------------------------------- 9 one decision, step by step

/**
 * Walk one voxel through a routed layer: a picture, a sentence with the numbers, and the line of the library that does it.
 *
 * `walk` comes from moereg/viz/steps.py: `{title, experts, colours, steps: [{title, sentence, quote, bars, strip}]}`.
 * Bars belong to experts and keep their place from step to step, so one sees logits become probabilities and gates.
 */
export function createSteps(root, walk, state = {}) {
  const last = walk.steps.length - 1;
  const store = createStore({ step: 0, playing: false, ...state });
  const go = (step) => store.set({ step: clamp(step, 0, last) });
  const back = h("button", { type: "button", class: "moe-toggle", onclick: () => go(store.state.step - 1) }, "Back");
  const next = h("button", { type: "button", class: "moe-toggle", onclick: () => go(store.state.step + 1) }, "Next");
  const play = toggle("Play", false, (playing) => {
    if (playing && store.state.step === last) store.set({ step: 0 });
    store.set({ playing });
  });
  const scrub = slider({ label: "Step", min: 0, max: last, value: 0, oninput: go });
  const list = h(
    "ol",
    { class: "moe-steps" },
    walk.steps.map(({ title }, i) =>
      h("li", {}, h("button", { type: "button", onclick: () => go(i) }, h("b", {}, `${i + 1}`), title)),
    ),
  );
  const bars = walk.experts.map((name, e) => {
    const fill = h("i", { style: { background: walk.colours[e] } });
    const zero = h("i", { class: "moe-zero" });
    const number = h("span", { class: "moe-number" });
    const row = h(
      "div",
      { class: "moe-row", "data-expert": name },
      h("span", {}, h("i", { class: "moe-swatch", style: { background: walk.colours[e] } }), name),
      h("span", { class: "moe-track" }, fill, zero),
      number,
    );
    return { row, fill, zero, number };
  });
  const total = h("p", { class: "moe-result" });
  const strip = h("div", { class: "moe-features", "aria-hidden": "true" });
  const picture = h(
    "div",
    { class: "moe-picture" },
    strip,
    bars.map(({ row }) => row),
    total,
  );
  const sentence = h("p", { class: "moe-sentence", role: "status", "aria-live": "polite" });
  const code = h("code");
  const where = h("figcaption");
  const view = h(
    "div",
    { class: "moe moe-walk", role: "region", "aria-label": `Step by step: ${walk.title}` },
    h("header", { class: "moe-head" }, h("h2", {}, walk.title)),
    h("div", { class: "moe-tools" }, back, play.element, next, scrub.element),
    h(
      "div",
      { class: "moe-walk-body" },
      list,
      h(
        "div",
        { class: "moe-card" },
        sentence,
        picture,
        h("figure", { class: "moe-quote" }, h("pre", {}, code), where),
      ),
    ),
  );
  root.replaceChildren(view);
  const stopTheme = followTheme(view);

  function drawBars({ values, low, high, digits, faint }) {
    const place = (v) => ((clamp(v, low, high) - low) / (high - low)) * 100;
    bars.forEach(({ row, fill, zero, number }, e) => {
      const value = values[e];
      row.dataset.number = value ?? "";
      row.classList.toggle("moe-dropped", faint.includes(e));
      number.textContent = value === null ? "\u2013" : low < 0 ? signed(value, digits) : plain(value, digits);
      const [a, b] = [place(Math.min(value ?? 0, 0)), place(Math.max(value ?? 0, 0))];
      fill.style.left = `${a}%`;
      fill.style.width = `${b - a}%`;
      zero.style.left = `${place(0)}%`;
      zero.hidden = low >= 0;
    });
  }
  function update({ step, playing }) {
    const { sentence: words, quote, bars: shown, strip: features, total: sum } = walk.steps[step];
    view.dataset.step = step;
    sentence.textContent = words;
    code.textContent = quote.code;
    where.textContent = `${quote.function}, ${quote.file}, line ${quote.line}`;
    bars.forEach(({ row }) => (row.hidden = !shown));
    if (shown) drawBars(shown);
    total.hidden = !sum;
    total.textContent = sum ?? "";
    strip.hidden = !features;
    const most = Math.max(...(features ?? [0]).map(Math.abs), 1e-6);
    strip.replaceChildren(
      ...(features ?? []).map((value) =>
        h("i", { style: { background: cssColour(ramp(DIFFERENCE, 0.5 + value / most / 2)) }, title: signed(value) }),
      ),
    );
    [...list.children].forEach((item, i) => item.firstChild.toggleAttribute("data-here", i === step));
    [...list.children].forEach((item, i) =>
      i === step
        ? item.firstChild.setAttribute("aria-current", "step")
        : item.firstChild.removeAttribute("aria-current"),
    );
    back.disabled = step === 0;
    next.disabled = step === last;
    scrub.set(step, `${step + 1} of ${last + 1}`);
    play.set(playing);
    play.relabel(playing ? "Pause" : "Play");
  }
  let timer = null;
  const unsubscribe = store.subscribe((now, keys) => {
    if (keys.has("playing") || (keys.has("step") && now.playing)) {
      clearTimeout(timer);
      if (now.playing && now.step === last) return store.set({ playing: false });
      // Long enough to read the sentence: three words a second.
      const words = walk.steps[now.step].sentence.split(" ").length;
      if (now.playing) timer = setTimeout(() => go(store.state.step + 1), walk.pace ?? Math.max(2500, words * 330));
    }
    update(now);
  });
  update(store.state);
  view.dataset.ready = "true";
  return {
    store,
    destroy() {
      clearTimeout(timer);
      unsubscribe();
      stopTheme();
      view.remove();
    },
  };
}

// ----------------------------------------------------------------------------------------------------------- 10 homes

/** On a page: `root` holds a static figure, which is replaced once the data is unpacked. */
export async function mount(root, payload, state) {
  if (payload.view === "steps") return createSteps(root, payload, state);
  return createExplorer(root, await openPayload(payload), state);
}

/** Every explorer of a page: a place to mount, and the data in a script element beside it. */
export function mountAll(page) {
  return Promise.all(
    [...page.querySelectorAll("[data-moereg-explorer]:not([data-moereg-alive])")].map((place) => {
      place.dataset.moeregAlive = "true";
      const payload = JSON.parse(place.querySelector("script[type='application/json']").textContent);
      return mount(place.querySelector("[data-moereg-mount]"), payload).then((explorer) => {
        place.explorer = explorer; // for a lecturer's console, and for tests
        performance.mark("moereg-ready");
        return explorer;
      });
    }),
  );
}

/**
 * In a notebook, through anywidget: what is looked at is shared with Python by traits, both ways.
 *
 * Whether a Python is there at all is asked, not assumed: a saved page keeps the widget's state but has no kernel, so
 * the controls that run the network again appear only after a reply.
 */
async function render({ model, el }) {
  if (model.get("view") === "steps") return renderSteps({ model, el });
  const data = await openPayload(binary(model.get("payload")));
  const explorer = createExplorer(el, data, fromTraits(data, model));
  const { store } = explorer;
  // `shared` is what both sides agreed on last: the view sends what differs from it, and only that.
  let shared = toTraits(data, store.state);
  let [pending, talking] = [null, false];
  const push = () => {
    clearTimeout(pending);
    [pending, talking] = [null, true]; // each `set` below announces a change of its own
    const traits = toTraits(data, store.state);
    for (const [name, value] of Object.entries(traits)) if (!same(shared[name], value)) model.set(name, value);
    shared = traits;
    model.save_changes();
    talking = false;
  };
  const stop = store.subscribe((_, keys) => {
    if (talking || [...keys].every((key) => ["hover", "busy", "live"].includes(key))) return;
    pending ??= setTimeout(push, 50); // dragging must not flood the kernel
  });
  const pull = () => {
    if (talking) return;
    if (pending !== null) push();
    talking = true;
    store.set(fromTraits(data, model));
    shared = toTraits(data, store.state);
    talking = false;
  };
  const refresh = async () => explorer.replace(await openPayload(binary(model.get("payload"))));
  const reply = (message) => {
    if (message.alive) store.set({ live: true });
    if (message.failed) store.set({ busy: false });
  };
  const names = Object.keys(toTraits(data, store.state));
  for (const name of names) model.on(`change:${name}`, pull);
  model.on("change:payload", refresh);
  model.on("msg:custom", reply);
  model.send({ hello: true });
  return () => {
    clearTimeout(pending);
    stop();
    for (const name of names) model.off(`change:${name}`, pull);
    model.off("change:payload", refresh);
    model.off("msg:custom", reply);
    explorer.destroy();
  };
}

function renderSteps({ model, el }) {
  let view = null;
  const show = () => {
    view?.destroy();
    view = createSteps(el, model.get("payload"), { step: model.get("step") });
    view.store.subscribe((state, keys) => {
      if (!keys.has("step")) return;
      model.set("step", state.step);
      model.save_changes();
    });
  };
  const pull = () => view.store.set({ step: model.get("step") });
  show();
  model.on("change:payload", show);
  model.on("change:step", pull);
  return () => {
    model.off("change:payload", show);
    model.off("change:step", pull);
    view.destroy();
  };
}

/** Bytes that came beside the JSON arrive as a DataView. */
function binary(payload) {
  const { data } = payload;
  return data instanceof DataView
    ? { ...payload, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
    : payload;
}

/** Names and numbers as Python has them. */
function toTraits(data, state) {
  const layer = data.layers[state.layer];
  return {
    voxel: state.voxel,
    plane: data.axes.length === 3 ? data.axes[state.plane] : "",
    layer: layer?.name ?? "",
    direction: layer?.tracks[state.track] ?? "",
    expert: layer?.experts[state.expert] ?? "",
    image: state.image,
    show: state.show,
    field: state.field,
    k: state.k,
    without: state.without,
    temperature: state.temperature,
  };
}

/** The part of the state that traits say. */
function fromTraits(data, model) {
  const layer = Math.max(
    0,
    data.layers.findIndex(({ name }) => name === model.get("layer")),
  );
  const { tracks, experts } = data.layers[layer] ?? { tracks: [], experts: [] };
  return {
    voxel: model.get("voxel"),
    plane: Math.max(0, data.axes.indexOf(model.get("plane"))),
    layer,
    track: Math.max(0, tracks.indexOf(model.get("direction"))),
    expert: Math.max(0, experts.indexOf(model.get("expert"))),
    image: model.get("image"),
    show: model.get("show"),
    field: model.get("field"),
    k: model.get("k"),
    without: model.get("without"),
    temperature: model.get("temperature"),
  };
}

export default { render };

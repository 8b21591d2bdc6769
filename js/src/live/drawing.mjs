// The pictures of the live view: grey images, the deformed grid, the experts' map.

import { paintLeaders } from "./result.mjs";

export const WIDE = 384; // pixels of a canvas along each side

const GRID = "#e8a53a";

/** Values in [0, 1] as a picture that fills the canvas. */
export function drawGrey(pen, values, size) {
  const bytes = new Uint8ClampedArray(4 * values.length);
  values.forEach((value, i) => bytes.set([255 * value, 255 * value, 255 * value, 255], 4 * i));
  put(pen, bytes, size, true);
}

/** The moved image, or how it differs from the fixed one: red where brighter, blue where darker. */
export function drawResult(pen, show, { warped, fixed, moving, size, u }) {
  if (show === "difference") {
    const bytes = new Uint8ClampedArray(4 * warped.length);
    warped.forEach((value, i) => {
      const d = Math.max(-1, Math.min(1, 2 * (value - fixed[i])));
      bytes.set([128 + 127 * d, 128 - 60 * Math.abs(d), 128 - 127 * d, 255], 4 * i);
    });
    return put(pen, bytes, size, true);
  }
  drawGrey(pen, show === "grid" ? moving : warped, size);
  if (show === "grid") drawGrid(pen, size, u);
}

/** Where a regular grid of the fixed image lies in the moving one: lines through x + u(x). */
function drawGrid(pen, size, u) {
  const scale = WIDE / size;
  const step = Math.max(2, Math.round(size / 24));
  const at = (row, column) => {
    const i = row * size + column;
    return [(column + u[1][i] + 0.5) * scale, (row + u[0][i] + 0.5) * scale];
  };
  Object.assign(pen, { strokeStyle: GRID, lineWidth: 1.5 });
  const line = (points) => {
    pen.beginPath();
    points.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.stroke();
  };
  const along = Array.from({ length: size }, (_, i) => i);
  for (let k = Math.floor(step / 2); k < size; k += step) {
    line(along.map((column) => at(k, column)));
    line(along.map((row) => at(row, k)));
  }
}

/** The experts' map, squares as they are, over the fixed image's outline of light and dark. */
export function drawExperts(pen, layer, track, colours, place) {
  put(pen, paintLeaders(layer, track, colours), layer.grid, false);
  if (!place) return;
  const side = WIDE / layer.grid;
  for (const [style, width] of [["#000000", 5], ["#ffffff", 2]]) {
    Object.assign(pen, { strokeStyle: style, lineWidth: width });
    pen.strokeRect(place[1] * side, place[0] * side, side, side);
  }
}

function put(pen, bytes, size, smooth) {
  const small = Object.assign(document.createElement("canvas"), { width: size, height: size });
  small.getContext("2d").putImageData(new ImageData(bytes, size, size), 0, 0);
  pen.imageSmoothingEnabled = smooth;
  pen.drawImage(small, 0, 0, WIDE, WIDE);
}


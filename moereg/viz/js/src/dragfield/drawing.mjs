// The two pictures: the moving image with the grid of places that are looked at, and the warped image.

import { sample } from "./field.mjs";

const [FOLDED, GRID, MOVE] = ["#d5008fb3", "#f0b04a", "#ffffff"];

/** Pixels of a picture per voxel, so that it is about 640 wide. */
export const scaleOf = (shape) => Math.max(4, Math.round(640 / Math.max(...shape)));

/** The moving image; over it where each voxel of the fixed grid looks, folds, and the handles' moves. */
export function drawMoving(pen, { shape, centres, image }, { u, folded }, moves) {
  const [rows, columns] = shape;
  const scale = scaleOf(shape);
  const at = (row, column) => {
    const i = row * columns + column;
    return [(column + u[1][i] + 0.5) * scale, (row + u[0][i] + 0.5) * scale];
  };
  paint(pen, image, columns, scale);
  pen.fillStyle = FOLDED;
  for (const i of folded) {
    trace(pen, diamond(i, shape, at));
    pen.fill();
  }
  const line = (points) => (trace(pen, points), pen.stroke());
  Object.assign(pen, { strokeStyle: GRID, lineWidth: 1.5 });
  for (let row = 0; row < rows; row += 2) line(Array.from({ length: columns }, (_, column) => at(row, column)));
  for (let column = 0; column < columns; column += 2) line(Array.from({ length: rows }, (_, row) => at(row, column)));
  Object.assign(pen, { strokeStyle: MOVE, lineWidth: 3 });
  const place = (y, x) => [(x + 0.5) * scale, (y + 0.5) * scale];
  centres.forEach(([y, x], k) => line([place(y, x), place(y + moves[k][0], x + moves[k][1])]));
}

/** The warped image, folded voxels coloured. */
export function drawWarped(pen, { shape, image }, { u, folded }) {
  const [, columns] = shape;
  const scale = scaleOf(shape);
  paint(pen, sample(image, shape, u), columns, scale);
  pen.fillStyle = FOLDED;
  for (const i of folded) pen.fillRect((i % columns) * scale, Math.floor(i / columns) * scale, scale, scale);
}

/** The four neighbours of a voxel make a diamond of signed area 2 det: where it is turned over, the field folds. */
function diamond(i, [rows, columns], at) {
  const [row, column] = [Math.floor(i / columns), i % columns];
  const [up, down] = [Math.max(row - 1, 0), Math.min(row + 1, rows - 1)];
  const [west, east] = [Math.max(column - 1, 0), Math.min(column + 1, columns - 1)];
  return [at(up, column), at(row, east), at(down, column), at(row, west)];
}

/** Values in [0, 1] as grey squares. */
function paint(pen, values, columns, scale) {
  for (let i = 0; i < values.length; i++) {
    const grey = Math.round(255 * values[i]);
    pen.fillStyle = `rgb(${grey} ${grey} ${grey})`;
    pen.fillRect((i % columns) * scale, Math.floor(i / columns) * scale, scale, scale);
  }
}

function trace(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
}

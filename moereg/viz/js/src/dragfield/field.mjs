// A field from handles. Handles at centres c_k with moves m_k make one Gaussian bump each; all arithmetic is the
// library's, in two dimensions:
//
//   f(x) = sum_k m_k exp(-|x - c_k|^2 / (2 sigma^2))     read as a displacement u = f, or as a velocity, u = exp(f)
//   warped[x] = moving[x + u(x)]                         linear interpolation, border values outside
//   det(I + grad u)                                      central differences, one-sided at the border
//
// Axes are (row, column); a field is two Float64Arrays [down, right] in voxels.

import { clamp } from "../base/numbers.mjs";

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

/** What the view shows of `{moves, sigma, reading}`: the field u, its least determinant, the folded voxels. */
export function fieldOf({ shape, centres }, { moves, sigma, reading }) {
  const bump = bumps(shape, centres, moves, sigma);
  const u = reading === "velocity" ? exponentiate(bump, shape) : bump;
  const determinant = determinants(u, shape);
  const folded = [];
  determinant.forEach((value, i) => value <= 0 && folded.push(i));
  return { u, folded, least: determinant.reduce((a, b) => Math.min(a, b), Infinity) };
}

/** A move whose handle stays over the image. */
export const overImage = (shape, centre, move) =>
  move.map((part, axis) => clamp(centre[axis] + part, 0, shape[axis] - 1) - centre[axis]);

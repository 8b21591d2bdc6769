// Slices: which axes they show, and what is drawn on them, as paths in voxels (x to the right, y down).

import { displacementAt, labelAt } from "./fields.mjs";

/** Axes of a slice: `normal` is cut (-1 in 2-D), rows run down, columns to the right. */
export function planeAxes(data, normal) {
  const [row, column] = data.axes.map((_, axis) => axis).filter((axis) => axis !== normal);
  return { normal, row, column };
}

/** The axis that the large slice cuts, -1 where there is nothing to cut. */
export const normalOf = (data, state) => (data.axes.length === 2 ? -1 : state.plane);

const PLANE_NAMES = { z: "axial", y: "coronal", x: "sagittal" };

/** "axial" */
export const planeName = (data, normal) => PLANE_NAMES[data.axes[normal]];

/** [rows, columns] of a slice, in voxels. */
export const extent = (data, axes) => [data.shape[axes.row], data.shape[axes.column]];

/** CSS aspect ratio of so many rows and columns of voxels. */
export const aspect = (data, axes, rows, columns) =>
  `${columns * data.spacing[axes.column]} / ${rows * data.spacing[axes.row]}`;

/** A voxel of the slice through `through`. */
export function onPlane({ row, column }, through, r, c) {
  const voxel = [...through];
  voxel[row] = r;
  voxel[column] = c;
  return voxel;
}

/** Two lines through a voxel, with a gap around it. */
export const crosshair = (r, c, rows, columns) =>
  `M-0.5 ${r}H${c - 1.5}M${c + 1.5} ${r}H${columns - 0.5}M${c} -0.5V${r - 1.5}M${c} ${r + 1.5}V${rows - 0.5}`;

/** Grid lines carried along by the displacement: the points x + u(x) of every n-th row and column. */
export function deformedGrid(data, field, through, axes) {
  const [rows, columns] = extent(data, axes);
  const every = Math.max(2, Math.round(Math.max(rows, columns) / 16));
  const moved = (r, c) => {
    const u = displacementAt(data, field, onPlane(axes, through, r, c));
    return `${(c + u[axes.column]).toFixed(2)} ${(r + u[axes.row]).toFixed(2)}`;
  };
  let d = "";
  for (let r = 0; r < rows; r += every) for (let c = 0; c < columns; c++) d += (c ? "L" : "M") + moved(r, c);
  for (let c = 0; c < columns; c += every) for (let r = 0; r < rows; r++) d += (r ? "L" : "M") + moved(r, c);
  return d;
}

/** Arrows from x to x + u(x), the part of them that lies in the plane; none where it is shorter than 0.2 voxels. */
export function arrows(data, field, through, axes) {
  const [rows, columns] = extent(data, axes);
  const every = Math.max(2, Math.round(Math.max(rows, columns) / 18));
  let d = "";
  for (let r = every >> 1; r < rows; r += every)
    for (let c = every >> 1; c < columns; c += every) {
      const u = displacementAt(data, field, onPlane(axes, through, r, c));
      if (Math.hypot(u[axes.column], u[axes.row]) > 0.2) d += arrowPath(c, r, c + u[axes.column], r + u[axes.row], 0.9);
    }
  return d;
}

/** A line with a head, at most so long and never more than most of the line. */
export function arrowPath(x0, y0, x1, y1, head) {
  const length = Math.hypot(x1 - x0, y1 - y0);
  const size = length && Math.min(head, length * 0.6) / length;
  const [dx, dy] = [(x1 - x0) * size, (y1 - y0) * size];
  const point = (x, y) => `${x.toFixed(2)} ${y.toFixed(2)}`;
  const barbs = [point(x1 - dx - dy * 0.5, y1 - dy + dx * 0.5), point(x1 - dx + dy * 0.5, y1 - dy - dx * 0.5)];
  return `M${point(x0, y0)}L${point(x1, y1)}M${barbs[0]}L${point(x1, y1)}L${barbs[1]}`;
}

/** Borders between voxels of different label. */
export function outline(data, which, field, through, axes) {
  const [rows, columns] = extent(data, axes);
  const value = (r, c) => labelAt(data, which, field, onPlane(axes, through, r, c));
  let d = "";
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const here = value(r, c);
      if (c + 1 < columns && value(r, c + 1) !== here) d += `M${c + 0.5} ${r - 0.5}v1`;
      if (r + 1 < rows && value(r + 1, c) !== here) d += `M${c - 0.5} ${r + 0.5}h1`;
    }
  return d;
}

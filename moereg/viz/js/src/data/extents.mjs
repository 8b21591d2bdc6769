// Reach of a decision, drawn to scale: kernels, windows of attention, experts' arrows head to tail.

import { arrowPath } from "./planes.mjs";
import { attentionAt, contributionsAt, decisionAt } from "./routing.mjs";
import { sum } from "../base/numbers.mjs";

/** A layer's voxel -> the voxel of the image it sits on. */
export const layerCentre = (layer, place) => place.map((p, axis) => p * layer.every * layer.stride[axis]);

/** Squares of the chosen kernels at a voxel, first choice last: an expert of extent k covers k voxels of its level. */
export function kernelExtents(data, layer, track, voxel, axes) {
  const { place, chosen, gates } = decisionAt(data, layer, track, voxel);
  const centre = layerCentre(layer, place);
  return [...chosen]
    .reverse()
    .filter((e) => layer.kernels[e])
    .map((e) => {
      const k = layer.kernels[e];
      const [width, height] = [k * layer.stride[axes.column], k * layer.stride[axes.row]];
      const [x, y] = [centre[axes.column] - width / 2, centre[axes.row] - height / 2];
      return { expert: e, extent: k, gate: gates[e], box: { x, y, width, height } };
    });
}

/** The window of a token in the image, and the head that looks there first; null where the layer has no attention. */
export function attentionWindow(data, layer, track, voxel, axes) {
  const [first] = attentionAt(data, layer, track, voxel);
  if (!first) return null;
  const { low, high, expert } = first;
  const edge = (axis) => (low[axis] - 0.5) * layer.stride[axis];
  const length = (axis) => (high[axis] - low[axis]) * layer.stride[axis];
  const box = { x: edge(axes.column), y: edge(axes.row), width: length(axes.column), height: length(axes.row) };
  return { expert, box };
}

/**
 * In-plane shares of the experts as arrows head to tail from the voxel, and their sum.
 *
 * `{sum, links: [{expert, d}], scale}`: `scale` is the round factor that makes the longest arrow fit into `reach`
 * voxels of the level. Null where the layer proposes no displacement.
 */
export function arrowChain(data, layer, voxel, axes, reach) {
  const shares = contributionsAt(data, layer, voxel);
  if (!shares) return null;
  const steps = layer.experts
    .map((_, e) => [e, shares[axes.column][e], shares[axes.row][e]])
    .filter(([, x, y]) => Math.hypot(x, y) > 1e-3);
  const total = [sum(steps.map(([, x]) => x)), sum(steps.map(([, , y]) => y))];
  const longest = Math.max(Math.hypot(...total), ...steps.map(([, x, y]) => Math.hypot(x, y)), 1e-6);
  const scale = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].findLast((s) => longest * s < reach * 0.9) ?? 0.1;
  let [x, y] = [0, 0];
  const links = steps.map(([expert, dx, dy]) => {
    const d = arrowPath(x * scale, y * scale, (x + dx) * scale, (y + dy) * scale, 0.45);
    [x, y] = [x + dx, y + dy];
    return { expert, d };
  });
  return { sum: arrowPath(0, 0, total[0] * scale, total[1] * scale, 0.5), links, scale };
}

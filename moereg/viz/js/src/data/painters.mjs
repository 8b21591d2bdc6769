// How a slice is coloured: each painter is a function voxel -> [red, green, blue].

import { DIFFERENCE, ENTROPY, groundFor, mix, ramp, rgb } from "./colours.mjs";
import { snapshotOf, warpedAt } from "./fields.mjs";
import { at } from "./maps.mjs";
import { clamp, sum } from "../base/numbers.mjs";
import { onPlane } from "./planes.mjs";
import { decisionAt, layerVoxel } from "./routing.mjs";

/** Grey of an intensity, black at the low end of the window and white at the high one. */
export const grey = (data, value) => {
  const { low, high } = data.images.window;
  const g = clamp((value - low) / (high - low), 0, 1) * 255;
  return [g, g, g];
};

/** "fixed", "moving", "warped", "checkerboard" (the warped image tinted) or "difference" (warped - fixed). */
export function imagePainter(data, kind, field) {
  const image = (which, voxel) => at(data.read(data.images[which]), ...voxel);
  const span = data.images.window.high - data.images.window.low;
  const block = Math.max(2, Math.round(Math.max(...data.shape) / 6));
  const painters = {
    fixed: (voxel) => grey(data, image("fixed", voxel)),
    moving: (voxel) => grey(data, image("moving", voxel)),
    warped: (voxel) => grey(data, warpedAt(data, field, voxel)),
    checkerboard: (voxel) =>
      sum(voxel.map((v) => Math.floor(v / block))) % 2
        ? mix(grey(data, warpedAt(data, field, voxel)), [255, 214, 150], 0.12)
        : grey(data, image("fixed", voxel)),
    difference: (voxel) => ramp(DIFFERENCE, 0.5 + (warpedAt(data, field, voxel) - image("fixed", voxel)) / span),
  };
  return painters[kind];
}

/** A routed layer's map: "first" expert, "gate" of one expert, or "entropy". `field` may name a snapshot. */
export function routingPainter(data, layer, track, { show, expert, field }) {
  if (show === "first") return firstPainter(data, layer, track, snapshotOf(data, field)?.layers[layer.name]);
  if (show === "gate") {
    const [ground, full] = gateStops(layer, expert);
    return (voxel) => mix(ground, full, decisionAt(data, layer, track, voxel).gates[expert]);
  }
  const most = Math.log(layer.experts.length);
  return (voxel) => ramp(ENTROPY, decisionAt(data, layer, track, voxel).entropy / most);
}

/** The colour of the expert with the largest gate: of the result, or as a snapshot of the training had it. */
function firstPainter(data, layer, track, snapshot) {
  const colours = layer.colours.map(rgb);
  if (snapshot) {
    const first = data.read(snapshot.first);
    return (voxel) => colours[at(first, track, ...layerVoxel(layer, voxel, snapshot.every))];
  }
  const indices = data.read(layer.indices);
  return (voxel) => colours[at(indices, track, 0, ...layerVoxel(layer, voxel))];
}

/** Ends of the scale of a gate map. */
export const gateStops = (layer, expert) => [groundFor(layer.colours[expert]), rgb(layer.colours[expert])];

/** Pixels of a slice, row after row, four bytes each. */
export function paintSlice(rows, columns, axes, through, paint) {
  return paintPixels(rows, columns, (r, c) => paint(onPlane(axes, through, r, c)));
}

/** Pixels of a picture from `colour(row, column) -> [red, green, blue]`, or null where it is transparent. */
export function paintPixels(rows, columns, colour) {
  const pixels = new Uint8ClampedArray(rows * columns * 4);
  for (let r = 0, i = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, i += 4) {
      const here = colour(r, c);
      if (here) [pixels[i], pixels[i + 1], pixels[i + 2], pixels[i + 3]] = [here[0], here[1], here[2], 255];
    }
  return pixels;
}

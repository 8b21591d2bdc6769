// What a registration says: numbers, a sentence, the colours of the experts' map. Plain functions, no page.
//
// A result is `{size, u, layers}`: u = [down, right] in voxels, pulled, warped[x] = moving[x + u(x)]; a layer has `name`,
// `grid` (its size), `experts`, and maps `gates` and `shares` (2, N, grid, grid): what each expert added to u, in voxels
// of that grid.

import { plain, signed } from "../base/numbers.mjs";
import { mix, rgb } from "../data/colours.mjs";
import { determinants, sample } from "../dragfield/field.mjs";

/** Names and arrays of the network's outputs -> a result. `arrays[name]` is flat. */
export function resultOf(size, arrays, names, experts) {
  const half = arrays.displacement.length / 2;
  const u = [arrays.displacement.subarray(0, half), arrays.displacement.subarray(half)];
  const layers = names.map((name) => {
    const gates = arrays[`${name}/gates`];
    return {
      name,
      grid: Math.round(Math.sqrt(gates.length / 2 / experts.length)),
      experts,
      gates,
      shares: arrays[`${name}/shares`],
    };
  });
  return { size, u, layers };
}

const meanDifference = (a, b) => a.reduce((total, value, i) => total + Math.abs(value - b[i]), 0) / a.length;

/** `{warped, before, after, longest, folded}`: mean absolute difference to the fixed image, voxels, voxels folded. */
export function measured(moving, fixed, { size, u }) {
  const warped = sample(moving, [size, size], u);
  let longest = 0;
  for (let i = 0; i < u[0].length; i++) longest = Math.max(longest, Math.hypot(u[0][i], u[1][i]));
  return {
    warped,
    before: meanDifference(moving, fixed),
    after: meanDifference(warped, fixed),
    longest,
    folded: determinants(u, [size, size]).reduce((count, value) => count + (value <= 0), 0),
  };
}

/** One sentence for everybody, and for those who hear the page. */
export function sentence({ before, after, longest, folded }) {
  const folds = folded ? `${folded} voxels folded.` : "No voxel folded.";
  return (
    `Difference to the fixed image ${plain(before, 3)} before, ${plain(after, 3)} after. ` +
    `Longest displacement ${plain(longest, 1)} voxels. ${folds}`
  );
}

/** Place in a layer's maps. */
const place = ({ grid, experts }, track, expert, row, column) =>
  ((track * experts.length + expert) * grid + row) * grid + column;

/** The expert with the largest gate at a place of the layer's grid. */
export function leader(layer, track, row, column) {
  let best = 0;
  for (let e = 1; e < layer.experts.length; e++)
    if (layer.gates[place(layer, track, e, row, column)] > layer.gates[place(layer, track, best, row, column)]) best = e;
  return best;
}

/** What the layer added to the displacement there, in voxels of its grid. */
export function added(layer, track, row, column) {
  return layer.experts.reduce((total, _, e) => total + layer.shares[place(layer, track, e, row, column)], 0);
}

const GROUND = [128, 128, 128];

/**
 * Bytes of the experts' map: the colour of the leader, the paler the less the layer moved the place. Full colour from a
 * tenth of the layer's largest step on.
 */
export function paintLeaders(layer, track, colours) {
  const { grid } = layer;
  const steps = new Float64Array(grid * grid);
  for (let i = 0; i < steps.length; i++) steps[i] = Math.abs(added(layer, track, Math.floor(i / grid), i % grid));
  const full = 0.1 * steps.reduce((a, b) => Math.max(a, b), 1e-6);
  const bytes = new Uint8ClampedArray(4 * steps.length);
  steps.forEach((step, i) => {
    const colour = rgb(colours[leader(layer, track, Math.floor(i / grid), i % grid)]);
    bytes.set([...mix(GROUND, colour, 0.25 + 0.75 * Math.min(step / full, 1)), 255], 4 * i);
  });
  return bytes;
}

/** Shares of a place in words: "5² +1.20, 3² −0.10", experts with a gate only, largest gate first. */
export function decision(layer, track, row, column) {
  const at = (maps, e) => maps[place(layer, track, e, row, column)];
  const chosen = layer.experts.map((_, e) => e).filter((e) => at(layer.gates, e) > 0);
  chosen.sort((a, b) => at(layer.gates, b) - at(layer.gates, a));
  return chosen
    .map((e) => `${layer.experts[e]} ${signed(at(layer.shares, e)).trim()} (gate ${plain(at(layer.gates, e))})`)
    .join(", ");
}

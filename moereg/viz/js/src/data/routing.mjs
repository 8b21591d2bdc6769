// What a routed layer decided at a voxel. A track is one router of the layer: a direction, or one of the two images.

import { at, boxes } from "./maps.mjs";
import { clamp, sum } from "../base/numbers.mjs";

/** Voxel of the image -> stored voxel of a layer's map; voxel i of the layer sits on voxel i * stride of the image. */
export function layerVoxel(layer, voxel, every = layer.every) {
  return voxel.map((v, axis) => {
    const stored = Math.ceil(layer.grid[axis] / every);
    return clamp(Math.floor(v / (layer.stride[axis] * every) + 0.5), 0, stored - 1);
  });
}

/** exp(x) / sum exp(x), computed without overflow. */
function softmax(scores) {
  const peak = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - peak));
  const total = sum(powers);
  return powers.map((power) => power / total);
}

/** Everything one decision consisted of: logits -> softmax -> top-k -> gates, for one track (direction or image). */
export function decisionAt(data, layer, track, voxel) {
  const place = layerVoxel(layer, voxel);
  const logits = layer.experts.map((_, e) => at(data.read(layer.logits), track, e, ...place));
  const probabilities = softmax(logits.map((x, e) => (layer.left_out.includes(e) ? -Infinity : x)));
  const chosen = Array.from({ length: layer.k }, (_, slot) => at(data.read(layer.indices), track, slot, ...place));
  const gates = layer.experts.map(() => 0);
  chosen.forEach((e, slot) => (gates[e] = at(data.read(layer.gates), track, slot, ...place)));
  const entropy = -sum(probabilities.map((p) => (p > 0 ? p * Math.log(p) : 0)));
  return { place, logits, probabilities, chosen, gates, entropy };
}

/** Each expert's share of each displacement component, in voxels of the layer: `[direction][expert]`. */
export function contributionsAt(data, layer, voxel) {
  if (!layer.proposals) return null;
  const place = layerVoxel(layer, voxel);
  const proposals = data.read(layer.proposals);
  return data.axes.map((_, direction) => {
    const { gates } = decisionAt(data, layer, decidesEachDirection(data, layer) ? direction : 0, voxel);
    return gates.map((gate, e) => (gate ? gate * at(proposals, direction, e, ...place) : 0));
  });
}

const decidesEachDirection = (data, layer) => layer.tracks.length === data.axes.length;

/** Experts' shares of the direction that a track decides on; null where one decision serves all directions. */
export const ownShare = (data, layer, track, shares) =>
  shares && decidesEachDirection(data, layer) ? shares[track] : null;

/**
 * Where each chosen head of a token looks: `[{expert, gate, low, high, tokens, weights}]`.
 *
 * Tokens are those of its window, the box from `low` up to but without `high`; weights are softmax(q k / sqrt(d)).
 */
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
    const score = (token) => sum(query.map((q, c) => q * at(keys, track, c, ...token))) / Math.sqrt(width);
    return { expert, gate: gates[expert], low, high, tokens, weights: softmax(tokens.map(score)) };
  });
}

/** What the maps of a layer are told apart by. */
export const trackLegend = (layer) => (layer.proposals ? "Direction" : "Token of");

/** "direction z" */
export const trackName = (layer, track) => `${trackLegend(layer).toLowerCase()} ${layer.tracks[track]}`;

/** State for another layer: its tracks and experts are other ones. */
export function forLayer(data, state, layer) {
  const { tracks, experts } = data.layers[layer];
  return { layer, track: Math.min(state.track, tracks.length - 1), expert: Math.min(state.expert, experts.length - 1) };
}

/** Kernel extents of a layer's experts, where it has any: attention heads have none. */
export const hasKernels = (layer) => Boolean(layer.kernels[0]);

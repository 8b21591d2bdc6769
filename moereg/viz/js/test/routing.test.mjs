import assert from "node:assert/strict";
import { test } from "node:test";

import {
  attentionAt,
  contributionsAt,
  decisionAt,
  forLayer,
  layerVoxel,
  ownShare,
  trackName,
} from "../src/data/routing.mjs";
import { close, deep, filled, flat, heads, layer } from "./small.mjs";

test("a layer's voxel i sits on voxel i * stride of the image", () => {
  const coarse = { grid: [3, 4], stride: [2, 4], every: 1 };
  assert.deepEqual(layerVoxel(coarse, [0, 0]), [0, 0]);
  assert.deepEqual(layerVoxel(coarse, [1, 1]), [1, 0]); // half way goes up
  assert.deepEqual(layerVoxel(coarse, [2, 6]), [1, 2]);
  assert.deepEqual(layerVoxel(coarse, [5, 15]), [2, 3]); // not beyond the last one
});

test("the closest voxel of a layer is taken", () => {
  const wide = { grid: [4], stride: [5], every: 1 };
  assert.deepEqual(
    [2, 3, 7, 8].map((v) => layerVoxel(wide, [v])[0]),
    [0, 1, 1, 2],
  );
});

test("of a large layer every n-th voxel is stored", () => {
  const thinned = { grid: [5, 5, 5], stride: [2, 2, 2], every: 2 };
  assert.deepEqual(layerVoxel(thinned, [2, 5, 9]), [1, 1, 2]);
  assert.deepEqual(layerVoxel(thinned, [9, 9, 9], 3), [1, 1, 1]);
});

test("logits, softmax, choice, gates and entropy of one decision", () => {
  const { place, logits, probabilities, chosen, gates, entropy } = decisionAt(flat(), layer(), 0, [2, 3]);
  assert.deepEqual(place, [1, 1]);
  close(logits, [0, 1.0986123]);
  close(probabilities, [0.25, 0.75]);
  assert.deepEqual(chosen, [1, 0]);
  close(gates, [0.25, 0.75]); // by expert, not by rank
  close(entropy, 0.5623351);
});

test("softmax stands large logits", () => {
  const large = layer({ logits: filled([2, 2, 2, 2], (_, e) => 1000 + (e ? Math.log(3) : 0)) });
  close(decisionAt(flat(), large, 0, [0, 0]).probabilities, [0.25, 0.75]);
});

test("every direction has a router of its own", () => {
  const { probabilities, chosen, gates } = decisionAt(flat(), layer(), 1, [0, 0]);
  close(probabilities, [0.75, 0.25]);
  assert.deepEqual(chosen, [0, 1]);
  close(gates, [0.75, 0.25]);
});

test("an expert that is left out has no probability, whatever its logit", () => {
  const three = layer({
    experts: ["1²", "3²", "5²"],
    left_out: [2],
    logits: filled([2, 3, 2, 2], (_, e) => [0, Math.log(3), 900][e]),
  });
  const { logits, probabilities, entropy, gates } = decisionAt(flat(), three, 0, [0, 0]);
  close(probabilities, [0.25, 0.75, 0]);
  close(entropy, 0.5623351);
  close(logits[2], 900);
  assert.equal(gates[2], 0);
});

test("an expert that is not chosen has no gate", () => {
  assert.deepEqual(decisionAt(flat(), layer({ k: 1 }), 0, [0, 0]).gates, [0, 0.75]);
});

test("shares are gates times proposals, direction by direction", () => {
  // y: gates 1/4 and 3/4 of 4 and 8; x: gates 3/4 and 1/4 of -2 and -4
  close(contributionsAt(flat(), layer(), [2, 3]), [
    [1, 6],
    [-1.5, -1],
  ]);
});

test("one decision may serve all directions", () => {
  const one = layer({ tracks: ["all"] });
  close(contributionsAt(flat(), one, [2, 3]), [
    [1, 6],
    [-0.5, -3],
  ]);
  assert.equal(ownShare(flat(), one, 0, [[1], [2]]), null);
  assert.deepEqual(ownShare(flat(), layer(), 1, [[1], [2]]), [2]);
});

test("a layer that moves nothing has no shares", () => {
  assert.equal(contributionsAt(flat(), layer({ proposals: undefined }), [0, 0]), null);
  assert.equal(ownShare(flat(), layer(), 0, null), null);
});

const KEYS = (_, y, x) =>
  Math.log(
    [
      [1, 1, 1, 2],
      [1, 1, 3, 2],
      [1, 1, 5, 15],
    ][y][x],
  );

test("attention is softmax(q k / sqrt(d)) over the token's window", () => {
  const [first, second] = attentionAt(flat(), heads(KEYS), 0, [1, 3]);
  assert.deepEqual([first.expert, second.expert], [1, 0]);
  close([first.gate, second.gate], [0.625, 0.375]);
  assert.deepEqual(
    [first.low, first.high],
    [
      [0, 2],
      [2, 4],
    ],
  );
  assert.deepEqual(first.tokens, [
    [0, 2],
    [0, 3],
    [1, 2],
    [1, 3],
  ]);
  close(first.weights, [1 / 8, 2 / 8, 3 / 8, 2 / 8]);
});

test("a window at the border ends with the grid", () => {
  const [head] = attentionAt(flat(), heads(KEYS), 0, [2, 3]);
  assert.deepEqual(
    [head.low, head.high],
    [
      [2, 2],
      [3, 4],
    ],
  );
  close(head.weights, [5 / 20, 15 / 20]);
});

test("each image has its own keys", () => {
  const layer = heads((track, y, x) => (track === 1 && x === 1 ? Math.log(3) : 0));
  close(attentionAt(flat(), layer, 0, [0, 0])[0].weights, [0.25, 0.25, 0.25, 0.25]);
  close(attentionAt(flat(), layer, 1, [0, 0])[0].weights, [1 / 8, 3 / 8, 1 / 8, 3 / 8]);
});

test("attention needs every token, and keys at all", () => {
  assert.deepEqual(attentionAt(flat(), heads(KEYS, { every: 2 }), 0, [0, 0]), []);
  assert.deepEqual(attentionAt(flat(), layer(), 0, [0, 0]), []);
});

test("attention in three dimensions", () => {
  const solid = heads(() => 0, {
    grid: [2, 3, 4],
    stride: [1, 1, 1],
    logits: filled([2, 2, 2, 3, 4], () => 0),
    indices: filled([2, 2, 2, 3, 4], (_, slot) => slot),
    gates: filled([2, 2, 2, 3, 4], () => 0.5),
    attention: {
      window: [2, 2, 2],
      queries: filled([2, 2, 1, 2, 3, 4], () => 1),
      keys: filled([2, 1, 2, 3, 4], (_, __, z, y, x) => (z === 1 && y === 0 && x === 3 ? Math.log(9) : 0)),
    },
  });
  const [head] = attentionAt(deep(), solid, 0, [0, 1, 2]);
  assert.deepEqual(
    [head.low, head.high],
    [
      [0, 0, 2],
      [2, 2, 4],
    ],
  );
  close(
    head.weights,
    [1, 1, 1, 1, 1, 9, 1, 1].map((power) => power / 16),
  );
});

test("another layer has other tracks and experts", () => {
  const data = flat({ layers: [layer(), layer({ tracks: ["all"], experts: ["a", "b", "c"] })] });
  assert.deepEqual(forLayer(data, { track: 1, expert: 1 }, 1), { layer: 1, track: 0, expert: 1 });
  assert.deepEqual(forLayer(data, { track: 0, expert: 2 }, 0), { layer: 0, track: 0, expert: 1 });
  assert.equal(trackName(layer(), 1), "direction x");
  assert.equal(trackName(heads(KEYS), 1), "token of fixed");
});

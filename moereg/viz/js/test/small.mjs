// Small payloads with numbers that one can work out by hand. Maps are given as they are; nothing is packed.

import assert from "node:assert/strict";

/** A map from a nested list. */
export function map(nested) {
  const shape = [];
  for (let part = nested; Array.isArray(part); part = part[0]) shape.push(part.length);
  return { shape, values: Float64Array.from(nested.flat(Infinity)) };
}

/** A map of `shape` whose value at [i, j, ...] is `value(i, j, ...)`. */
export function filled(shape, value) {
  const build = (index) =>
    index.length === shape.length
      ? value(...index)
      : Array.from({ length: shape[index.length] }, (_, i) => build([...index, i]));
  return map(build([]));
}

const EMPTY = { knockouts: [], snapshots: [], steps: [], layers: [], metrics: {}, labels: null, label_names: {} };

/** 3 x 4 voxels. The moving image is 10 row + column; u = (1, -0.5) everywhere: one row down, half a column left. */
export const flat = (change = {}) => ({
  ...EMPTY,
  read: (entry) => entry,
  shape: [3, 4],
  axes: ["y", "x"],
  spacing: [2, 0.5],
  images: {
    moving: filled([3, 4], (y, x) => 10 * y + x),
    fixed: filled([3, 4], (y, x) => x),
    window: { low: 0, high: 20 },
  },
  displacement: filled([2, 3, 4], (axis) => [1, -0.5][axis]),
  ...change,
});

/** 2 x 3 x 4 voxels. The moving image is 100 z + 10 y + x; u = (-1, 0.5, 1) everywhere. */
export const deep = (change = {}) => ({
  ...EMPTY,
  read: (entry) => entry,
  shape: [2, 3, 4],
  axes: ["z", "y", "x"],
  spacing: [3, 1, 0.5],
  images: {
    moving: filled([2, 3, 4], (z, y, x) => 100 * z + 10 * y + x),
    fixed: filled([2, 3, 4], () => 0),
    window: { low: 0, high: 200 },
  },
  displacement: filled([3, 2, 3, 4], (axis) => [-1, 0.5, 1][axis]),
  ...change,
});

/**
 * Two convolution experts on a 2 x 2 grid below 3 x 4 voxels; one router per direction.
 *
 * The logits of direction y are 0 and log 3, those of x log 3 and 0, so that softmax gives a quarter and three quarters.
 */
export const layer = (change = {}) => ({
  name: "decoder.0.shmoe",
  experts: ["1²", "3²"],
  colours: ["#ffffff", "#000000"],
  kernels: [1, 3],
  tracks: ["y", "x"],
  k: 2,
  grid: [2, 2],
  stride: [2, 2],
  every: 1,
  left_out: [],
  logits: filled([2, 2, 2, 2], (track, e) => (e === track ? 0 : Math.log(3))),
  indices: filled([2, 2, 2, 2], (track, slot) => (slot === track ? 1 : 0)),
  gates: filled([2, 2, 2, 2], (track, slot) => [0.75, 0.25][slot]),
  proposals: filled([2, 2, 2, 2], (direction, e) => (direction ? -2 : 4) * (e + 1)),
  load: [
    [0.25, 0.75],
    [0.75, 0.25],
  ],
  ...change,
});

/**
 * Two heads over windows of 2 x 2 tokens on a 3 x 4 grid; queries and keys have four numbers.
 *
 * Every query is (2, 0, 0, 0), so that a score, q k / sqrt(4), is the first number of the key.
 */
export const heads = (keys, change = {}) => ({
  ...layer({ name: "encoder.1.moa", experts: ["head 1", "head 2"], kernels: [null, null], grid: [3, 4] }),
  tracks: ["moving", "fixed"],
  stride: [1, 1],
  logits: filled([2, 2, 3, 4], () => 0),
  indices: filled([2, 2, 3, 4], (_, slot) => 1 - slot),
  gates: filled([2, 2, 3, 4], (_, slot) => [0.625, 0.375][slot]),
  proposals: undefined,
  attention: {
    window: [2, 2],
    cross: false,
    queries: filled([2, 2, 4, 3, 4], (_, __, c) => (c ? 0 : 2)),
    keys: filled([2, 4, 3, 4], (track, c, y, x) => (c ? 9 : keys(track, y, x))),
  },
  ...change,
});

/** Numbers, in any nesting, that agree up to rounding. */
export function close(found, expected, tolerance = 1e-6) {
  const [a, b] = [[found].flat(Infinity), [expected].flat(Infinity)];
  assert.equal(a.length, b.length, `${JSON.stringify(found)} is not as long as ${JSON.stringify(expected)}`);
  a.forEach((value, i) => {
    assert.ok(Math.abs(value - b[i]) <= tolerance, `${JSON.stringify(found)} is not ${JSON.stringify(expected)}`);
  });
}

import assert from "node:assert/strict";
import { test } from "node:test";

import { bent, FARTHEST, fitted, greyOf, resized, stretched, WIDTH, within } from "../src/live/images.mjs";
import { openNetwork, overMessages, serve } from "../src/live/network.mjs";
import { added, decision, leader, measured, paintLeaders, resultOf, sentence } from "../src/live/result.mjs";
import { close } from "./small.mjs";

test("grey of colours, transparent places black", () => {
  const bytes = Uint8ClampedArray.from([255, 255, 255, 255, 255, 0, 0, 255, 255, 255, 255, 0]);
  close([...greyOf(bytes)], [1, 0.2126, 0]);
});

test("values are stretched over [0, 1], a flat image is black", () => {
  close([...stretched(Float64Array.of(0.2, 0.4, 0.3))], [0, 1, 0.5]);
  close([...stretched(Float64Array.of(0.7, 0.7))], [0, 0]);
});

test("another size keeps the corners and lines straight", () => {
  const plane = Float64Array.from({ length: 9 }, (_, i) => 4 * Math.floor(i / 3) + (i % 3));
  const larger = resized(plane, 3, 5);
  close([larger[0], larger[4], larger[24]], [0, 2, 10]);
  close(larger[1 * 5 + 3], 2 + 1.5);
  assert.equal(resized(plane, 3, 3), plane);
});

test("a handle stops before the bend folds", () => {
  close(within([0.01, -0.02]), [0.01, -0.02]);
  close(within([3, 4]), [0.6 * FARTHEST, 0.8 * FARTHEST]);
  assert.ok(FARTHEST < WIDTH * Math.sqrt(Math.E));
});

test("the tissue under a handle comes along with it", () => {
  const size = 50;
  const image = Float64Array.from({ length: size * size }, (_, i) => i % size); // its own column
  const out = bent(image, size, [[0.5, 0.4]], [[0, 0.1]]);
  close(out[25 * size + 25], 20); // what lay at column 0.4 * 50 lies at 0.5 * 50
  close(out[0], 0, 1e-4);
  assert.equal(bent(image, size, [[0.5, 0.4]], [[0, 0]]), image);
});

test("a picture is shown whole, in the middle", () => {
  close(fitted(200, 100, 64), [0, 16, 64, 32]);
  close(fitted(30, 60, 90), [22.5, 0, 45, 90]);
});

/** Two experts on a grid of 2 x 2; direction 0: the second leads; direction 1: the first. */
const layer = () => ({
  name: "decoder.0.shmoe",
  grid: 2,
  experts: ["1²", "5²"],
  gates: Float32Array.from([0.25, 0.25, 0.25, 0.25, 0.75, 0.75, 0.75, 0.75, 1, 1, 1, 1, 0, 0, 0, 0]),
  shares: Float32Array.from([1, 0, 0, -1, 1, 0, 0.1, -1, -3, -3, -3, -3, 0, 0, 0, 0]),
});

test("outputs of the network become a result", () => {
  const { gates, shares } = layer();
  const arrays = { displacement: Float32Array.from({ length: 32 }, (_, i) => i), "a/gates": gates, "a/shares": shares };
  const result = resultOf(4, arrays, ["a"], ["1²", "5²"]);
  assert.deepEqual([result.layers[0].grid, result.u[1][0], result.u[0].length], [2, 16, 16]);
  assert.deepEqual(result.layers[0].shares, shares);
});

test("who leads, and what the layer added", () => {
  assert.deepEqual([leader(layer(), 0, 0, 0), leader(layer(), 1, 1, 1)], [1, 0]);
  close([added(layer(), 0, 0, 0), added(layer(), 0, 1, 1), added(layer(), 1, 0, 1)], [2, -2, -3]);
});

test("a decision in words names experts with a gate, largest first", () => {
  assert.equal(decision(layer(), 0, 0, 0), "5² +1.00 (gate 0.75), 1² +1.00 (gate 0.25)");
  assert.equal(decision(layer(), 1, 0, 0), "1² \u22123.00 (gate 1.00)");
});

test("the map has the leader's colour, paler where nothing moved", () => {
  const bytes = paintLeaders(layer(), 0, ["#000000", "#ff0000"]);
  assert.deepEqual([...bytes.slice(0, 4)], [255, 0, 0, 255]); // two voxels of at most two
  assert.deepEqual([...bytes.slice(4, 8)], [160, 96, 96, 255]); // nothing: a quarter of the colour, 128 + 0.25 * 127
  // 0.1 of full 0.2: half way from a quarter to one
  assert.deepEqual([...bytes.slice(8, 12)], [207, 48, 48, 255]);
});

test("differences before and after, the longest vector, folds", () => {
  const size = 4;
  const moving = Float64Array.from({ length: 16 }, (_, i) => i % 4);
  const fixed = moving.map((value) => Math.min(value + 1, 3));
  const u = [new Float64Array(16), new Float64Array(16).fill(1)];
  const found = measured(moving, fixed, { size, u });
  close([found.before, found.after, found.longest, found.folded], [0.75, 0, 1, 0]);
  const folding = measured(moving, fixed, { size, u: [u[0], Float64Array.from(moving, (column) => -2 * column)] });
  assert.equal(folding.folded, 16);
  assert.equal(
    sentence({ before: 0.0612, after: 0.02, longest: 7.25, folded: 0 }),
    "Difference to the fixed image 0.061 before, 0.020 after. Longest displacement 7.3 voxels. No voxel folded.",
  );
  assert.match(sentence({ ...found, folded: 3 }), /3 voxels folded\.$/);
});

/** Two ends that hear each other a little later, as a page and its worker do. */
function channel() {
  const [page, scope] = [{}, {}];
  const later = (end, data) => setTimeout(() => end.onmessage({ data }), 0);
  page.postMessage = (data) => later(scope, data);
  scope.postMessage = (data) => later(page, data);
  return [Object.assign(page, { terminate() {} }), scope];
}

/** A runtime that answers with the mean of both images, and cannot do images of 3 x 3. */
const runtime = () => ({
  env: { wasm: {} },
  Tensor: class {
    constructor(kind, data, dims) {
      Object.assign(this, { data, dims });
    }
  },
  InferenceSession: {
    create: async () => ({
      async run({ moving, fixed }) {
        if (moving.dims[2] === 3) throw new Error("three is too few.");
        return { displacement: { data: moving.data.map((value, i) => (value + fixed.data[i]) / 2) } };
      },
    }),
  },
});

test("a worker answers every question by its number, and says what went wrong", async () => {
  globalThis.fetch = async () => ({ ok: true, arrayBuffer: async () => new ArrayBuffer(4) });
  const [page, scope] = channel();
  const runner = overMessages(page);
  serve(scope, "http://127.0.0.1/live/", async () => runtime());
  await runner.ready;
  const image = (value, size) => new Float32Array(size * size).fill(value);
  const [one, two] = await Promise.all([
    runner.run(image(1, 2), image(3, 2), 2),
    runner.run(image(1, 2), image(5, 2), 2),
  ]);
  assert.deepEqual([one.arrays.displacement[0], two.arrays.displacement[3]], [2, 3]);
  assert.ok(one.milliseconds >= 0);
  await assert.rejects(runner.run(image(1, 3), image(1, 3), 3), /three is too few/);
});

test("a worker without its runtime is not ready", async () => {
  const [page, scope] = channel();
  const runner = overMessages(page);
  serve(scope, "http://127.0.0.1/live/", async () => {
    throw new Error("no runtime.");
  });
  await assert.rejects(runner.ready, /no runtime/);
});

test("where there is no worker the network runs in the page", async () => {
  globalThis.fetch = async () => ({ ok: true, arrayBuffer: async () => new ArrayBuffer(4) });
  const kept = globalThis.Worker;
  globalThis.Worker = undefined;
  const folder = new URL("http://127.0.0.1/live/");
  const network = await openNetwork(folder, async () => runtime(), { sizes: [2, 3], layers: [], experts: [] });
  assert.equal(network.where, "page");
  const { result } = await network.run([1, 1, 1, 1], [3, 3, 3, 3], 2);
  assert.deepEqual([...result.u[1]], [2, 2]);
  await assert.rejects(network.run([], [], 5), /size must be one of 2,3, got 5/);
  globalThis.Worker = kept;
});

import assert from "node:assert/strict";
import { test } from "node:test";

import { arrowChain, attentionWindow, kernelExtents } from "../src/data/extents.mjs";
import {
  arrowPath,
  arrows,
  aspect,
  crosshair,
  deformedGrid,
  normalOf,
  onPlane,
  outline,
  planeAxes,
  planeName,
} from "../src/data/planes.mjs";
import { close, deep, filled, flat, heads, layer, map } from "./small.mjs";

const FLAT = { normal: -1, row: 0, column: 1 };

test("rows run along the first axis that is not cut, columns along the second", () => {
  assert.deepEqual(planeAxes(deep(), 0), { normal: 0, row: 1, column: 2 });
  assert.deepEqual(planeAxes(deep(), 1), { normal: 1, row: 0, column: 2 });
  assert.deepEqual(planeAxes(deep(), 2), { normal: 2, row: 0, column: 1 });
  assert.deepEqual(planeAxes(flat(), -1), FLAT);
  assert.deepEqual(
    [0, 1, 2].map((normal) => planeName(deep(), normal)),
    ["axial", "coronal", "sagittal"],
  );
  assert.deepEqual([normalOf(deep(), { plane: 2 }), normalOf(flat(), { plane: 2 })], [2, -1]);
});

test("a voxel of a slice keeps the cut axis", () => {
  const through = [1, 2, 3];
  assert.deepEqual(onPlane(planeAxes(deep(), 1), through, 0, 2), [0, 2, 2]);
  assert.deepEqual(through, [1, 2, 3]);
});

test("pictures have the proportions of the body, not of the grid", () => {
  assert.equal(aspect(deep(), planeAxes(deep(), 1), 2, 4), "2 / 6"); // 4 columns of 0.5 mm, 2 rows of 3 mm
});

test("the cross leaves its voxel free and reaches the edges", () => {
  assert.equal(crosshair(1, 2, 3, 4), "M-0.5 1H0.5M3.5 1H3.5M2 -0.5V-0.5M2 2.5V2.5");
});

test("the grid is carried to x + u(x): to the right by the column's component", () => {
  assert.equal(
    deformedGrid(flat({ shape: [3, 3] }), "result", [0, 0], FLAT),
    "M-0.50 1.00L0.50 1.00L1.50 1.00M-0.50 3.00L0.50 3.00L1.50 3.00" +
      "M-0.50 1.00L-0.50 2.00L-0.50 3.00M1.50 1.00L1.50 2.00L1.50 3.00",
  );
  const sagittal = deformedGrid(deep(), "result", [0, 0, 3], planeAxes(deep(), 2)); // rows z, columns y
  assert.ok(sagittal.startsWith("M0.50 -1.00L1.50 -1.00L2.50 -1.00M0.50 -1.00L0.50 0.00M"), sagittal);
});

test("large slices have as many lines and arrows as small ones", () => {
  const sized = (columns) => flat({ shape: [4, columns], displacement: filled([2, 4, columns], () => 1) });
  // 42 / 16 and 46 / 18 voxels from line to line, rounded: 3
  assert.equal(deformedGrid(sized(42), "result", [0, 0], FLAT).split("M").length - 1, 2 + 14);
  const starts = arrows(sized(46), "result", [0, 0], FLAT).match(/(?<=M)\d+\.00 \d+\.00(?=L\d+\.00 \d+\.00M)/g);
  assert.deepEqual([starts.length, starts[0], starts.at(-1)], [15, "1.00 1.00", "43.00 1.00"]);
});

test("an arrow is as long as both of its components", () => {
  for (const u of [
    [0.25, 0],
    [0, -0.25],
    [0.15, 0.15],
  ])
    assert.notEqual(arrows(flat({ displacement: filled([2, 3, 4], (axis) => u[axis]) }), "result", [0, 0], FLAT), "");
});

test("arrows lead from x to x + u(x), and short ones are left out", () => {
  const [one, two] = arrows(flat(), "result", [0, 0], FLAT).split("M1.00 1.00")[1].split("M3.00 1.00");
  assert.ok(one.startsWith("L0.50 2.00"), one);
  assert.ok(two.startsWith("L2.50 2.00"), two);
  const still = flat({ displacement: filled([2, 3, 4], () => 0.14) }); // 0.198 long
  assert.equal(arrows(still, "result", [0, 0], FLAT), "");
  assert.ok(arrows(deep(), "result", [0, 0, 0], planeAxes(deep(), 0)).startsWith("M1.00 1.00L2.00 1.50"));
});

test("an arrow's head is so long, and never more than most of the line", () => {
  assert.equal(arrowPath(0, 0, 4, 0, 1), "M0.00 0.00L4.00 0.00M3.00 0.50L4.00 0.00L3.00 -0.50");
  assert.equal(arrowPath(1, 1, 1, 2, 1), "M1.00 1.00L1.00 2.00M0.70 1.40L1.00 2.00L1.30 1.40");
  assert.equal(arrowPath(1, 2, 1, 2, 1), "M1.00 2.00L1.00 2.00M1.00 2.00L1.00 2.00L1.00 2.00");
});

test("outlines run between voxels of different labels", () => {
  const labels = {
    fixed: map([
      [1, 1],
      [1, 2],
    ]),
  };
  assert.equal(outline(flat({ shape: [2, 2], labels }), "fixed", "result", [0, 0], FLAT), "M0.5 0.5h1M0.5 0.5v1");
});

test("an outline is drawn once", () => {
  const row = flat({ shape: [1, 4], labels: { fixed: map([[1, 1, 2, 2]]) } });
  assert.equal(outline(row, "fixed", "result", [0, 0], FLAT), "M1.5 -0.5v1");
});

test("kernels are drawn at true size around the layer's voxel, first choice last", () => {
  const wide = layer({ stride: [2, 4] });
  const [small, large] = kernelExtents(flat(), wide, 0, [2, 4], FLAT); // the layer's voxel (1, 1) sits on (2, 4)
  assert.deepEqual(small, { expert: 0, extent: 1, gate: 0.25, box: { x: 2, y: 1, width: 4, height: 2 } });
  assert.deepEqual(large, { expert: 1, extent: 3, gate: 0.75, box: { x: -2, y: -1, width: 12, height: 6 } });
  assert.deepEqual(kernelExtents(flat(), layer({ kernels: [null, null] }), 0, [2, 4], FLAT), []);
});

test("kernels of a thinned layer sit where its stored voxels are", () => {
  const thinned = layer({ grid: [4, 4], stride: [1, 1], every: 2 });
  const [{ box }] = kernelExtents(flat(), thinned, 0, [2, 1], FLAT);
  assert.deepEqual(box, { x: 1.5, y: 1.5, width: 1, height: 1 }); // stored voxel (1, 1) is voxel (2, 2)
});

test("a window covers its tokens, half a token before the first", () => {
  const coarse = heads(() => 0, { stride: [2, 2] });
  const { expert, box } = attentionWindow(flat({ shape: [6, 8] }), coarse, 0, [2, 6], FLAT);
  assert.equal(expert, 1);
  assert.deepEqual(box, { x: 3, y: -1, width: 4, height: 4 });
  const clipped = attentionWindow(flat({ shape: [6, 8] }), coarse, 0, [4, 6], FLAT); // the last row of three
  assert.deepEqual(clipped.box, { x: 3, y: 3, width: 4, height: 2 });
  assert.equal(attentionWindow(flat(), layer(), 0, [0, 0], FLAT), null);
});

test("shares head to tail end where their sum ends", () => {
  // shares y 1 and 6, x -1.5 and -1, drawn at half size: 7 rows down and 2.5 columns left fit into 4.5
  const { sum, links, scale } = arrowChain(flat(), layer(), [2, 3], FLAT, 4.5);
  assert.equal(scale, 0.5);
  assert.deepEqual(
    links.map(({ expert, d }) => [expert, d.split("M")[1]]),
    [
      [0, "0.00 0.00L-0.75 0.50"],
      [1, "-0.75 0.50L-1.25 3.50"],
    ],
  );
  assert.equal(sum, arrowPath(0, 0, -1.25, 3.5, 0.5));
});

test("the scale of arrows is a round one, and never below a tenth", () => {
  const scale = (reach) => arrowChain(flat(), layer(), [2, 3], FLAT, reach).scale; // the sum is 7.43 long
  assert.deepEqual([80, 20, 10, 4, 1.5, 0.5].map(scale), [5, 2, 1, 0.2, 0.1, 0.1]);
});

test("arrows of a slice are those of its axes; small ones are enlarged, and none is none", () => {
  const tiny = layer({
    tracks: ["z", "y", "x"],
    grid: [1, 1, 1],
    stride: [1, 1, 1],
    k: 1,
    logits: filled([3, 2, 1, 1, 1], () => 0),
    indices: filled([3, 1, 1, 1, 1], () => 0),
    gates: filled([3, 1, 1, 1, 1], () => 1),
    proposals: filled([3, 2, 1, 1, 1], (direction) => [0.3, 0, -0.2][direction]),
  });
  const chain = arrowChain(deep(), tiny, [0, 0, 0], planeAxes(deep(), 1), 2); // rows z, columns x
  assert.equal(chain.scale, 2);
  assert.equal(chain.sum.split("M")[1], "0.00 0.00L-0.40 0.60");
  close(chain.links.length, 1);
  assert.equal(arrowChain(flat(), layer({ proposals: undefined }), [0, 0], FLAT, 2), null);
});

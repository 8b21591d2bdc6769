import assert from "node:assert/strict";
import { test } from "node:test";

import { displacementAt, fieldName, labelAt, labelName, snapshotOf, warpedAt } from "../src/data/fields.mjs";
import { close, deep, filled, flat, map } from "./small.mjs";

// What a field adds, stored at every second voxel: 4 rows further per stored row, nothing across.
const change = { every: 2, values: filled([2, 2, 2], (axis, row) => (axis === 0 ? 4 * row : 0)) };
const changed = flat({
  knockouts: [
    { layer: "L", expert: 1, field: { every: 1, values: filled([2, 3, 4], () => 9) } },
    { layer: "L", expert: 0, field: change },
  ],
  snapshots: [{ step: 20, field: change, layers: {} }],
  steps: [change],
  layers: [{ name: "L", experts: ["one", "two"] }],
});

test("the result's displacement, and none", () => {
  assert.deepEqual(displacementAt(flat(), "result", [1, 2]), [1, -0.5]);
  assert.deepEqual(displacementAt(flat(), "none", [1, 2]), [0, 0]);
  assert.deepEqual(displacementAt(deep(), "result", [1, 1, 2]), [-1, 0.5, 1]);
});

test("other fields are the result and a coarse change, interpolated between stored voxels", () => {
  for (const field of ["knockout:1", "snapshot:0", "step:0"]) {
    close(displacementAt(changed, field, [0, 2]), [1, -0.5]);
    close(displacementAt(changed, field, [1, 2]), [1 + 2, -0.5]); // half way to the second stored row
    close(displacementAt(changed, field, [2, 2]), [1 + 4, -0.5]);
  }
  close(displacementAt(changed, "knockout:0", [0, 0]), [10, 8.5]);
});

test("a displacement pulls: warped[x] = moving[x + u(x)], rows by the first component", () => {
  close(warpedAt(flat(), "result", [1, 2]), 10 * 2 + 1.5);
  close(warpedAt(flat(), "none", [1, 2]), 12);
  close(warpedAt(deep(), "result", [1, 1, 2]), 100 * 0 + 10 * 1.5 + 3);
});

test("what lies outside of the moving image has its border's value", () => {
  close(warpedAt(flat(), "result", [2, 0]), 20); // from row 3 and column -0.5
  close(warpedAt(changed, "knockout:1", [2, 3]), 22.5);
});

test("labels: of the fixed image, of the moving one, and pulled from the closest voxel", () => {
  const labels = { fixed: filled([3, 4], () => 7), moving: filled([3, 4], (y, x) => 10 * y + x) };
  const data = flat({ labels, displacement: filled([2, 3, 4], (axis) => [0.6, -1.4][axis]) });
  assert.equal(labelAt(data, "fixed", "result", [1, 2]), 7);
  assert.equal(labelAt(data, "moving", "result", [1, 2]), 12);
  assert.equal(labelAt(data, "warped", "result", [1, 2]), 21); // row 1.6, column 0.6
  assert.equal(labelAt(data, "warped", "none", [1, 2]), 12);
  assert.equal(labelAt(flat(), "warped", "result", [1, 2]), 0);
});

test("names of labels and of fields", () => {
  assert.equal(labelName({ label_names: { 2: "liver" } }, 2), "liver");
  assert.equal(labelName({ label_names: {} }, 3), "label 3");
  assert.equal(labelName({ label_names: { 0: "air" } }, 0), "");
  const names = ["result", "none", "knockout:0", "snapshot:0", "step:0"].map((field) => fieldName(changed, field));
  assert.deepEqual(names, ["result", "no displacement", "without two in L", "training step 20", "field after step 1"]);
});

test("only a training step has a snapshot", () => {
  assert.equal(snapshotOf(changed, "snapshot:0").step, 20);
  assert.equal(snapshotOf(changed, "step:0"), null);
});

test("a channel's own component is read", () => {
  const data = flat({
    displacement: map([
      [
        [1, 2],
        [3, 4],
      ],
      [
        [5, 6],
        [7, 8],
      ],
    ]),
  });
  assert.deepEqual(displacementAt(data, "result", [1, 0]), [3, 7]);
});

import assert from "node:assert/strict";
import { test } from "node:test";

import * as dragfield from "../../dragfield.mjs";
import * as explorer from "../../explorer.mjs";

test("the bundles offer what pages, notebooks and anywidget ask for", () => {
  const public_ = ["createExplorer", "createSteps", "mount", "mountAll", "openPayload", "render"];
  for (const name of public_) assert.equal(typeof explorer[name], "function", name);
  for (const name of ["createDragField", "render"]) assert.equal(typeof dragfield[name], "function", name);
  assert.deepEqual([explorer.default, dragfield.default], [{ render: explorer.render }, { render: dragfield.render }]);
});

test("the bundled arithmetic is there too", () => {
  assert.equal(explorer.signed(-1.3), "\u22121.30");
  assert.deepEqual(explorer.layerVoxel({ grid: [3], stride: [2], every: 1 }, [3]), [2]);
  assert.equal(dragfield.bumps([1, 1], [[0, 0]], [[2, 0]], 1)[0][0], 2);
});

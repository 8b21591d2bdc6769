import assert from "node:assert/strict";
import { test } from "node:test";

import { choicesOf, frameOf, inWords } from "../src/stills/choice.mjs";

const controls = [
  { label: "smoothing", values: ["0", "1", "2"] },
  { label: "step", values: ["half", "whole"] },
];

test("pictures stand in the order of all combinations, last control fastest", () => {
  assert.deepEqual([frameOf(controls, [0, 1]), frameOf(controls, [2, 0])], [1, 4]);
  for (let frame = 0; frame < 6; frame++) assert.equal(frameOf(controls, choicesOf(controls, frame)), frame);
  assert.deepEqual(choicesOf(controls, 3), [1, 1]);
});

test("what is shown, in words", () => assert.equal(inWords(controls, [2, 0]), "smoothing 2, step half"));

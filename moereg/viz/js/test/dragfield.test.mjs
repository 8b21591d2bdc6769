import assert from "node:assert/strict";
import { test } from "node:test";

import { bumps, determinants, exponentiate, fieldOf, overImage, sample } from "../src/dragfield/field.mjs";
import { close } from "./small.mjs";

/** A field [down, right] from functions of (row, column). */
const field = ([rows, columns], down, right) =>
  [down, right].map((part) =>
    Float64Array.from({ length: rows * columns }, (_, i) => part(Math.floor(i / columns), i % columns)),
  );

test("a bump is its move at the centre and falls off as a Gaussian", () => {
  const [down, right] = bumps([5, 7], [[1, 2]], [[3, -2]], 2);
  const i = (row, column) => row * 7 + column;
  close([down[i(1, 2)], right[i(1, 2)]], [3, -2]);
  close([down[i(4, 2)], right[i(1, 6)]], [3 * Math.exp(-9 / 8), -2 * Math.exp(-16 / 8)]);
  close(down[i(3, 5)], 3 * Math.exp(-(4 + 9) / 8));
});

test("bumps add up", () => {
  const [down] = bumps(
    [3, 3],
    [
      [0, 0],
      [2, 2],
    ],
    [
      [1, 0],
      [1, 0],
    ],
    1,
  );
  close(down[4], 2 * Math.exp(-1));
});

test("a field pulls: values come from x + u(x), from the border where that is outside", () => {
  const shape = [3, 4];
  const values = Float64Array.from({ length: 12 }, (_, i) => 10 * Math.floor(i / 4) + (i % 4));
  const out = sample(
    values,
    shape,
    field(
      shape,
      () => 0.5,
      () => -1.5,
    ),
  );
  close(out[1 * 4 + 2], 15.5); // row 1.5, column 0.5
  close(out[2 * 4 + 0], 20); // row 2.5 and column -1.5 are outside
  close(
    [
      ...sample(
        values,
        shape,
        field(
          shape,
          () => 0,
          () => 0,
        ),
      ),
    ],
    [...values],
  );
});

test("the exponential of a constant velocity is that constant", () => {
  const shape = [4, 5];
  const [down, right] = exponentiate(
    field(
      shape,
      () => 0.75,
      () => -2,
    ),
    shape,
  );
  close([down[7], right[7]], [0.75, -2]);
});

test("the exponential of v = a x is (e^a - 1) x", () => {
  const shape = [3, 101];
  const [, right] = exponentiate(
    field(
      shape,
      () => 0,
      (_, column) => 0.3 * (column - 50),
    ),
    shape,
  );
  close(right[101 + 60], (Math.exp(0.3) - 1) * 10, 0.01);
  close(right[101 + 40], (Math.exp(0.3) - 1) * -10, 0.01);
});

test("determinants of a linear field, at the border too", () => {
  const shape = [3, 4];
  // u = (0.5 row + 0.2 column, 0.4 row - 0.25 column): det = 1.5 * 0.75 - 0.2 * 0.4
  const u = field(
    shape,
    (r, c) => 0.5 * r + 0.2 * c,
    (r, c) => 0.4 * r - 0.25 * c,
  );
  close([...determinants(u, shape)], Array(12).fill(1.045));
});

test("a row that is pulled past the next one folds", () => {
  const given = { shape: [9, 9], centres: [[4, 4]] };
  const state = { moves: [[0, 0]], sigma: 2, reading: "displacement" };
  const still = fieldOf(given, state);
  assert.deepEqual([still.folded, still.least], [[], 1]);
  // The steepest slope is m / (s sqrt(e)): 4 voxels over a width of 2 make 1.21.
  const folds = fieldOf(given, { ...state, moves: [[4, 0]] });
  assert.ok(folds.least < 0 && folds.folded.length > 0, `${folds.least}`);
  assert.ok(folds.folded.includes(6 * 9 + 4)); // below the centre the field falls off, and rows come to lie above others
  assert.ok(!folds.folded.includes(2 * 9 + 4));
  assert.ok(fieldOf(given, { ...state, moves: [[4, 0]], reading: "velocity" }).least > 0);
});

test("a handle stays over the image", () => {
  assert.deepEqual(overImage([10, 20], [4, 5], [2, 3]), [2, 3]);
  assert.deepEqual(overImage([10, 20], [4, 5], [-9, 99]), [-4, 14]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { at, binary, boxes, decode, interpolate, nearest, openPayload } from "../src/data/maps.mjs";
import { close, filled, map } from "./small.mjs";

const entry = (change) => ({ offset: 0, bits: 8, axes: 0, zero: 0, precision: 1, ...change });

test("codes of eight bits are steps from zero", () => {
  const { shape, values } = decode(Uint8Array.of(0, 1, 2, 255), entry({ shape: [2, 2], zero: -1, precision: 0.5 }));
  assert.deepEqual(
    [shape, [...values]],
    [
      [2, 2],
      [-1, -0.5, 0, 126.5],
    ],
  );
});

test("codes of sixteen bits have their low bytes first, all of them", () => {
  const bytes = Uint8Array.of(99, 0x02, 0xff, 0x01, 0x00);
  assert.deepEqual([...decode(bytes, entry({ shape: [2], bits: 16, offset: 1 })).values], [0x0102, 0xff]);
});

test("differences along the last axis start anew in every row", () => {
  // rows 5 3 4 and 1 200 2: 3 - 5 is 254 in eight bits, 2 - 200 is 58
  const bytes = Uint8Array.of(5, 254, 1, 1, 199, 58);
  assert.deepEqual([...decode(bytes, entry({ shape: [2, 3], axes: 1 })).values], [5, 3, 4, 1, 200, 2]);
});

test("differences along two axes, one after the other", () => {
  // the second row above, less the first: 1 - 5 = 252, 199 - 254 = 201, 58 - 1 = 57
  const bytes = Uint8Array.of(5, 254, 1, 252, 201, 57);
  assert.deepEqual([...decode(bytes, entry({ shape: [2, 3], axes: 2 })).values], [5, 3, 4, 1, 200, 2]);
});

test("differences along three axes of a channel leave the next channel alone", () => {
  const codes = [7, 7, 7, 7, 7, 7, 7, 7, 300, 300, 300, 300, 300, 300, 300, 301];
  const differences = [7, 0, 0, 0, 0, 0, 0, 0, 300, 0, 0, 0, 0, 0, 0, 1];
  const bytes = Uint8Array.from([...differences.map((d) => d & 255), ...differences.map((d) => d >> 8)]);
  assert.deepEqual([...decode(bytes, entry({ shape: [2, 2, 2, 2], bits: 16, axes: 3 })).values], codes);
});

test("a payload is unpacked once, from text or from bytes", async () => {
  const packed = gzipSync(Uint8Array.of(4, 5, 6));
  for (const data of [packed.toString("base64"), new Uint8Array(packed)]) {
    const opened = await openPayload({ title: "T", data });
    const first = opened.read(entry({ shape: [2], offset: 1 }));
    assert.deepEqual([...first.values], [5, 6]);
    assert.equal(opened.read(entry({ shape: [2], offset: 1 })), first);
    assert.equal(opened.title, "T");
  }
});

test("bytes beside the JSON are those that the view of them covers", () => {
  const buffer = Uint8Array.of(1, 2, 3, 4, 5).buffer;
  assert.deepEqual([...binary({ data: new DataView(buffer, 1, 3) }).data], [2, 3, 4]);
  assert.equal(binary({ data: "text" }).data, "text");
});

test("the last axis is the fastest", () => {
  const counted = { shape: [2, 3, 4], values: Array.from({ length: 24 }, (_, i) => i) };
  assert.equal(at(counted, 1, 2, 3), 23);
  assert.equal(at(counted, 1, 0, 2), 14);
});

test("linear interpolation in two dimensions", () => {
  const plane = map([
    [0, 1],
    [2, 3],
  ]);
  close(interpolate(plane, [0.25, 0.5]), 2 * 0.25 + 0.5);
  close(interpolate(plane, [1, 1]), 3);
});

test("linear interpolation in three dimensions, of one channel", () => {
  const two = filled([2, 2, 2, 2], (c, z, y, x) => 100 * c + 4 * z + 2 * y + x);
  close(interpolate(two, [0.5, 0.25, 0.75], [1]), 100 + 2 + 0.5 + 0.75);
  close(interpolate(two, [0.5, 0.25, 0.75], [0]), 2 + 0.5 + 0.75);
  const nested = filled([2, 3, 4], (a, b, x) => 100 * a + 10 * b + x);
  close(interpolate(nested, [2.5], [1, 2]), 122.5);
});

test("outside, the border's value", () => {
  const plane = map([
    [0, 1, 5],
    [2, 3, 7],
  ]);
  close(interpolate(plane, [-5, 9]), 5);
  close(interpolate(plane, [9, -5]), 2);
  close(interpolate(map([[4, 6, 9]]), [0.7, 1.5]), 7.5); // one row has no second row to mix with
  assert.equal(nearest(plane, [-3, 8]), 5);
});

test("the closest voxel", () => {
  const plane = filled([3, 4], (y, x) => 10 * y + x);
  assert.equal(nearest(plane, [1.4, 2.6]), 13);
});

test("all voxels of a box, last axis fastest, the upper end left out", () => {
  assert.deepEqual(boxes([1, 0], [3, 2]), [
    [1, 0],
    [1, 1],
    [2, 0],
    [2, 1],
  ]);
  assert.equal(boxes([0, 0, 4], [2, 3, 5]).length, 6);
});

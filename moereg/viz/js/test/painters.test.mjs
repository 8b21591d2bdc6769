import assert from "node:assert/strict";
import { test } from "node:test";

import { areas, endToEnd, placeOn, span } from "../src/data/bars.mjs";
import { cssColour, groundFor, isLight, luminance, mix, ramp, rgb } from "../src/data/colours.mjs";
import { grey, imagePainter, paintPixels, paintSlice, routingPainter } from "../src/data/painters.mjs";
import { planeAxes } from "../src/data/planes.mjs";
import { close, deep, filled, flat, layer } from "./small.mjs";

test("colours are read, mixed and written", () => {
  assert.deepEqual(rgb("#2a6fd1"), [42, 111, 209]);
  close(mix([0, 100, 200], [100, 0, 200], 0.25), [25, 75, 200]);
  assert.equal(cssColour([1.4, 1.6, 255]), "rgb(1 2 255)");
});

test("luminance is that of WCAG", () => {
  close([luminance([0, 0, 0]), luminance([255, 255, 255])], [0, 1]);
  close([luminance([255, 0, 0]), luminance([0, 255, 0]), luminance([0, 0, 255])], [0.2126, 0.7152, 0.0722]);
  close(luminance([10, 10, 10]), 0.00303527, 1e-8); // the straight part of the curve
  close(luminance([128, 128, 128]), 0.2158605);
});

test("light colours get a dark ground", () => {
  assert.deepEqual([isLight("#ffffff"), isLight("#0000ff")], [true, false]);
  assert.ok(luminance(groundFor("#ffffff")) < 0.01 && luminance(groundFor("#000000")) > 0.8);
});

test("a ramp goes through its stops and ends with them", () => {
  const stops = [
    [0, 0, 0],
    [100, 0, 0],
    [100, 200, 0],
  ];
  close(ramp(stops, 0.25), [50, 0, 0]);
  close(ramp(stops, 0.75), [100, 100, 0]);
  close([ramp(stops, -3), ramp(stops, 1), ramp(stops, 3)], [0, 0, 0, 100, 200, 0, 100, 200, 0]);
});

test("grey runs over the window", () => {
  const data = { images: { window: { low: 10, high: 20 } } };
  assert.deepEqual(
    [9, 10, 15, 25].map((value) => grey(data, value)[0]),
    [0, 0, 127.5, 255],
  );
});

test("images are painted as they are stored, or pulled", () => {
  const colour = (kind, field = "result") => imagePainter(flat(), kind, field)([1, 2])[0];
  close([colour("fixed"), colour("moving")], [(2 / 20) * 255, (12 / 20) * 255]);
  close([colour("warped"), colour("warped", "none")], [255, (12 / 20) * 255]); // 21.5 is above the window
});

test("a checkerboard changes with every block along every axis", () => {
  const shape = [2, 8, 22]; // blocks of 22 / 6, rounded: four voxels
  const zeros = filled(shape, () => 0);
  const images = { fixed: zeros, moving: zeros, window: { low: 0, high: 1 } };
  const paint = imagePainter(deep({ shape, images }), "checkerboard", "none");
  const tinted = (...voxel) => paint(voxel)[0] > 0; // black, or black with a tint
  const row = Array.from({ length: 9 }, (_, x) => Number(tinted(0, 0, x))).join("");
  assert.equal(row, "000011110");
  assert.deepEqual([tinted(1, 3, 0), tinted(0, 4, 0), tinted(1, 4, 4)], [false, true, false]);
});

test("difference: warped above fixed is orange, below is blue, the window's half makes full colour", () => {
  const { moving } = flat().images; // 12 at the voxel
  const paint = (value) => {
    const images = { moving, fixed: filled([3, 4], () => value), window: { low: 10, high: 30 } };
    return imagePainter(flat({ images }), "difference", "none")([1, 2]);
  };
  const [blue, dark, orange] = ["#2a6fd1", "#101216", "#e8853a"].map(rgb);
  close(paint(12), dark);
  close([paint(2), paint(7)], [orange, mix(dark, orange, 0.5)]);
  close([paint(22), paint(17)], [blue, mix(dark, blue, 0.5)]);
});

test("routing: first expert, gate, entropy", () => {
  const [data, given] = [flat(), layer()];
  const paint = (track, state) => routingPainter(data, given, track, { field: "result", expert: 0, ...state })([1, 1]);
  close(paint(0, { show: "first" }), [0, 0, 0]);
  close(paint(1, { show: "first" }), [255, 255, 255]);
  close(paint(0, { show: "gate" }), mix([16, 18, 22], [255, 255, 255], 0.25));
  close(paint(0, { show: "gate", expert: 1 }), mix([244, 241, 234], [0, 0, 0], 0.75));
  const even = layer({ logits: filled([2, 2, 2, 2], () => 4) });
  close(routingPainter(data, even, 0, { show: "entropy", field: "result" })([0, 0]), rgb("#f6ecd4"));
});

test("a training step has first experts of its own, thinned in its own way", () => {
  const first = filled([2, 1, 1], (track) => track);
  const data = flat({ snapshots: [{ step: 5, layers: { "decoder.0.shmoe": { every: 2, first } } }] });
  const paint = (track) => routingPainter(data, layer(), track, { show: "first", field: "snapshot:0" })([2, 3]);
  close([paint(0), paint(1)], [255, 255, 255, 0, 0, 0]);
});

test("pixels go row by row, four bytes each; what has no colour is transparent", () => {
  const pixels = paintPixels(2, 2, (r, c) => (r === c ? [10 * r, c, 300] : null));
  assert.deepEqual([...pixels], [0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 10, 1, 255, 255]);
  const voxels = [];
  paintSlice(2, 3, planeAxes(deep(), 2), [0, 0, 3], (voxel) => (voxels.push(voxel.join("")), [0, 0, 0]));
  assert.deepEqual(voxels, ["003", "013", "023", "103", "113", "123"]);
});

test("bars reach from zero", () => {
  close([placeOn(0, -2, 2), placeOn(9, 0, 1), placeOn(-9, 0, 1)], [50, 100, 0]);
  assert.deepEqual(span(1, -2, 2), { left: "50%", width: "25%" });
  assert.deepEqual(span(-1, -2, 2), { left: "25%", width: "25%" });
  assert.deepEqual(span(0.5, 0, 1), { left: "0%", width: "50%" });
});

test("shares are laid end to end on either side of zero", () => {
  assert.deepEqual(endToEnd([2, -1, 0, 3, -4]), [
    { e: 0, start: 0, value: 2 },
    { e: 1, start: -1, value: -1 },
    { e: 3, start: 2, value: 3 },
    { e: 4, start: -5, value: -4 },
  ]);
});

test("loads over time lie on top of each other", () => {
  assert.deepEqual(
    areas(
      [
        [0.25, 0.75],
        [0.5, 0.5],
      ],
      2,
      [300, 80],
    ),
    ["M0.0 60.0L300.0 40.0L300.0 80.0L0.0 80.0Z", "M0.0 0.0L300.0 0.0L300.0 40.0L0.0 60.0Z"],
  );
  assert.ok(areas([[0], [1], [0]], 1, [300, 80])[0].startsWith("M0.0 80.0L150.0 0.0L300.0 80.0"));
  assert.equal(areas([[], [1]], 1, [10, 10])[0], "M0.0 10.0L10.0 0.0L10.0 10.0L0.0 10.0Z"); // not there at first
});

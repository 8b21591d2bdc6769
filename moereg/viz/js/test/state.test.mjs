import assert from "node:assert/strict";
import { test } from "node:test";

import { closest, ordinal, percent, plain, same, signed, spokenNumber } from "../src/base/numbers.mjs";
import { loadInWords, mapName, readingTime, shownMetrics, spoken } from "../src/data/sentences.mjs";
import { focus, fromTraits, initialState, toTraits } from "../src/data/state.mjs";
import { deep, flat, heads, layer } from "./small.mjs";

const two = () => flat({ layers: [layer(), heads(() => 0)] });

test("a first look", () => {
  const state = initialState(deep());
  assert.deepEqual([state.voxel, state.plane, state.image, state.field], [[1, 1, 2], 0, "warped", "result"]);
  assert.deepEqual([state.temperature, state.k, state.without, state.live], [1, {}, {}, false]);
  assert.deepEqual(initialState(deep({ start: [0, 2, 3], plane: 2 })).voxel, [0, 2, 3]);
  assert.deepEqual([initialState(flat()).labels, initialState(flat({ labels: {} })).labels], [false, true]);
});

test("the voxel under the pointer is spoken about, else the pinned one", () => {
  assert.deepEqual(focus({ voxel: [1, 2], hover: [0, 0] }), [0, 0]);
  assert.deepEqual(focus({ voxel: [1, 2], hover: null }), [1, 2]);
});

test("traits have the names that Python has", () => {
  const state = { ...initialState(two()), layer: 1, track: 1, expert: 1, k: { a: 1 }, temperature: 2 };
  assert.deepEqual(toTraits(two(), state), {
    voxel: [1, 2],
    image: "warped",
    show: "first",
    field: "result",
    k: { a: 1 },
    without: {},
    temperature: 2,
    plane: "",
    layer: "encoder.1.moa",
    direction: "fixed",
    expert: "head 2",
  });
  assert.equal(toTraits(deep(), { ...initialState(deep()), plane: 1 }).plane, "y");
});

test("a state survives the way to Python and back", () => {
  const data = two();
  const state = {
    ...initialState(data),
    voxel: [2, 0],
    layer: 1,
    track: 1,
    expert: 1,
    show: "gate",
    without: { a: ["b"] },
  };
  const traits = toTraits(data, state);
  const back = { ...initialState(data), ...fromTraits(data, (name) => traits[name]) };
  assert.deepEqual(back, state);
});

test("names that the data does not have are the first ones", () => {
  const traits = { layer: "gone", direction: "w", expert: "?", plane: "t" };
  const { layer: first, track, expert, plane } = fromTraits(two(), (name) => traits[name]);
  assert.deepEqual([first, track, expert, plane], [0, 0, 0, 0]);
  const { layer: none, track: zero } = fromTraits(flat(), (name) => traits[name]); // nothing is routed
  assert.deepEqual([none, zero], [0, 0]);
  assert.deepEqual(toTraits(flat(), initialState(flat())).layer, "");
});

test("numbers: a real minus, and room for a sign", () => {
  assert.deepEqual(
    [0.42, -1.3, 0, -0.001].map((value) => signed(value)),
    ["+0.42", "\u22121.30", "\u20070.00", "\u20070.00"],
  );
  assert.equal(spokenNumber(0), "0.00");
  assert.deepEqual([plain(-1.25, 1), plain(0), percent(0.126)], ["\u22121.3", "0.00", "13\u2009%"]);
  assert.deepEqual([0, 1, 2, 3].map(ordinal), ["1st", "2nd", "3rd", "4th"]);
  assert.deepEqual([closest([0.5, 1, 2], 1.4), closest([0.5, 1, 2], 9)], [1, 2]);
  assert.deepEqual([same([1, { a: 2 }], [1, { a: 2 }]), same([1], [2])], [true, false]);
});

test("the live text says where, what was decided, what it moved", () => {
  const data = flat({
    layers: [layer()],
    labels: { fixed: { shape: [3, 4], values: Array(12).fill(5) } },
    label_names: { 5: "liver" },
  });
  const state = { layer: 0, track: 0, field: "result" };
  const decision = { chosen: [1, 0], gates: [0.25, 0.75] };
  assert.equal(
    spoken(data, state, [2, 3], [1, -0.5], decision),
    "Voxel y 2, x 3, liver. decoder.0.shmoe, direction y: 3² gate 0.75 moves +6.00; 1² gate 0.25 moves +1.00" +
      "; together +7.00 voxels of this level.",
  );
  assert.equal(
    spoken(flat(), state, [2, 3], [1, -0.5], null),
    "Voxel y 2, x 3, displacement +1.00, \u22120.50 voxels.",
  );
  const attention = spoken(two(), { ...state, layer: 1, track: 1 }, [0, 0], [0, 0], { chosen: [0], gates: [1, 0] });
  assert.equal(attention, "Voxel y 0, x 0. encoder.1.moa, token of fixed: head 1 gate 1.00.");
});

test("other sentences", () => {
  assert.equal(mapName(layer(), { show: "gate", expert: 1 }), "Gate of 3²");
  assert.equal(loadInWords(layer(), [0.256, 0.744]), "1² 26 percent, 3² 74 percent");
  assert.deepEqual(shownMetrics({ folds: 0, dice: 1, other: 2 }), ["dice", "folds"]);
  assert.deepEqual([readingTime("short"), readingTime("word ".repeat(19) + "word")], [2500, 6600]);
});

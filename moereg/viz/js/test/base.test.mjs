import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { stepListener } from "../src/base/keyboard.mjs";
import { placeIn, pointerListeners } from "../src/base/pointer.mjs";
import { createStore } from "../src/base/store.mjs";
import { themeOf } from "../src/base/theme.mjs";
import { shareTraits } from "../src/base/traits.mjs";

test("a store tells what changed, and nothing where nothing did", () => {
  const store = createStore({ voxel: [1, 2], plane: 0, field: "result" });
  const [heard, { voxel }] = [[], store.state];
  const stop = store.subscribe((state, keys) => heard.push([state.plane, [...keys]]));
  store.set({ plane: 1, voxel: [1, 2] });
  assert.deepEqual(heard, [[1, ["plane"]]]);
  assert.equal(store.state.voxel, voxel); // an equal part stays the same object
  store.set({ plane: 1 });
  stop();
  store.set({ plane: 2 });
  assert.deepEqual([heard.length, store.state], [1, { voxel: [1, 2], plane: 2, field: "result" }]);
});

test("a page's theme comes before JupyterLab's, and that before the system's", () => {
  assert.equal(themeOf("light", "false", true), "light");
  assert.equal(themeOf("dark", "true", false), "dark");
  assert.deepEqual([themeOf("auto", "false", false), themeOf(undefined, "true", true)], ["dark", "light"]);
  assert.deepEqual([themeOf(undefined, undefined, true), themeOf(undefined, undefined, false)], ["dark", "light"]);
});

const key = (name, shiftKey = false) => {
  const event = { key: name, shiftKey, prevented: 0, stopped: 0 };
  return Object.assign(event, { preventDefault: () => event.prevented++, stopPropagation: () => event.stopped++ });
};

test("keys are steps: up and left are backwards, Shift goes further or finer", () => {
  const moves = [];
  const listen = stepListener((...move) => moves.push(move), { shift: 5 });
  for (const name of ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown"]) listen(key(name));
  listen(key("ArrowLeft", true));
  assert.deepEqual(moves, [
    ["row", -1],
    ["row", 1],
    ["column", -1],
    ["column", 1],
    ["normal", 1],
    ["normal", -1],
    ["column", -5],
  ]);
  const fine = [];
  stepListener((...move) => fine.push(move), { shift: 0.25 })(key("ArrowDown", true));
  assert.deepEqual(fine, [["row", 0.25]]);
});

test("a key that moves something is not the page's, another one is", () => {
  const listen = stepListener((axis) => axis !== "normal" || false, { shift: 5 });
  const [used, refused, other] = [key("ArrowUp"), key("PageUp"), key("Tab")];
  for (const event of [used, refused, other]) listen(event);
  assert.deepEqual(
    [used, refused, other].map(({ prevented, stopped }) => [prevented, stopped]),
    [
      [1, 1],
      [0, 0],
      [0, 0],
    ],
  );
});

test("a place in a box, down and right", () => {
  assert.deepEqual(placeIn({ top: 10, left: 20, width: 200, height: 50 }, { clientY: 35, clientX: 70 }), [0.5, 0.25]);
});

test("a pointer presses, drags, hovers and leaves", () => {
  const [seen, held] = [[], new Set()];
  const element = { setPointerCapture: (id) => held.add(id), hasPointerCapture: (id) => held.has(id) };
  const say = (name) => () => seen.push(name);
  const on = pointerListeners({
    onpress: say("press"),
    ondrag: say("drag"),
    onhover: say("hover"),
    onleave: say("leave"),
  });
  const event = (change) => ({ currentTarget: element, pointerId: 1, pointerType: "mouse", button: 0, ...change });
  on.onpointerdown(event({ button: 2 }));
  on.onpointermove(event());
  on.onpointermove(event({ pointerType: "touch" })); // a finger does not hover
  on.onpointerdown(event());
  on.onpointermove(event());
  on.onpointermove(event({ pointerId: 2, pointerType: "touch" }));
  on.onpointerleave(event());
  assert.deepEqual(seen, ["hover", "press", "drag", "leave"]);
});

/** What anywidget offers, with a Python at the other end that only remembers. */
function fakeModel(traits) {
  const heard = {};
  const model = {
    saved: [],
    get: (name) => traits[name],
    set(name, value) {
      traits[name] = value;
      for (const listener of heard[`change:${name}`] ?? []) listener();
    },
    save_changes: () => model.saved.push({ ...traits }),
    on: (name, listener) => (heard[name] ??= []).push(listener),
    off: (name, listener) => (heard[name] = heard[name].filter((other) => other !== listener)),
    listeners: () => Object.values(heard).flat().length,
  };
  return model;
}

function sharedStore(t, state) {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => mock.timers.reset());
  const [model, store] = [fakeModel({ ...state }), createStore(state)];
  const traits = shareTraits(model, {
    current: () => store.state,
    apply: (get) => store.set({ voxel: get("voxel"), layer: get("layer") }),
  });
  store.subscribe(traits.changed);
  return { model, store, traits };
}

test("changes of a drag reach Python together, after a pause", (t) => {
  const { model, store } = sharedStore(t, { voxel: [0], layer: "a" });
  for (const voxel of [[1], [2], [3]]) store.set({ voxel });
  assert.equal(model.saved.length, 0);
  mock.timers.tick(49);
  assert.equal(model.saved.length, 0);
  mock.timers.tick(1);
  assert.deepEqual(model.saved, [{ voxel: [3], layer: "a" }]);
});

test("what Python sets is shown, and not sent back", (t) => {
  const { model, store } = sharedStore(t, { voxel: [0], layer: "a" });
  model.set("voxel", [7]);
  mock.timers.tick(100);
  assert.deepEqual(store.state, { voxel: [7], layer: "a" });
  assert.deepEqual(model.saved, []);
});

test("a change on either side at the same time loses neither", (t) => {
  const { model, store } = sharedStore(t, { voxel: [0], layer: "a" });
  store.set({ voxel: [1] });
  model.set("layer", "b"); // before the pause is over
  assert.deepEqual(store.state, { voxel: [1], layer: "b" });
  assert.deepEqual(model.saved, [{ voxel: [1], layer: "b" }]);
});

test("a view that is gone neither hears nor speaks", (t) => {
  const { model, store, traits } = sharedStore(t, { voxel: [0], layer: "a" });
  store.set({ voxel: [1] });
  traits.stop();
  mock.timers.tick(100);
  assert.deepEqual([model.saved, model.listeners()], [[], 0]);
});

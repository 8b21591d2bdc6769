// The state of the live view, and what follows from it. The network runs as often as it can while something moves.

import { createStore } from "../base/store.mjs";
import { bent, resized } from "./images.mjs";
import { measured } from "./result.mjs";

/** Shown before the network is there, and where it cannot come: a recorded run of the first pair. */
export const STATUS = {
  recorded: "A recorded run. Move a handle, or press the button, and the network is loaded into this page.",
  loading: "The network is being loaded, once.",
  live: "The network runs in this page.",
  missing: "The network cannot run in this browser; this is a recorded run.",
};

/**
 * `{store, current(), start(), show(frame), destroy()}`. `open()` gives the network, `frames` is what was recorded: a list
 * of `{moves, result}` for pair 0 at `given.size`.
 */
export function createModel(given, frames, open) {
  const recorded = frames.map(({ moves, result }) => {
    const { moving, fixed } = given.pairs[0];
    return { ...result, images: { moving: bent(moving, given.size, given.centres, moves), fixed } };
  });
  const still = given.centres.map(() => [0, 0]);
  const store = createStore({
    pair: 0,
    own: {}, // images of the reader, {moving, fixed}, of given.size voxels along each side
    size: given.size,
    moves: still,
    frame: 0,
    show: "warped",
    layer: 0,
    track: 0,
    place: null,
    status: "recorded",
    milliseconds: null,
    shown: 0, // counts results, so that pictures know when to be drawn again
  });
  let [network, result, running, wanted, ended] = [null, recorded[0], false, false, false];
  const images = () => {
    const { pair, own, size, moves } = store.state;
    const { moving, fixed } = pair === "own" ? own : given.pairs[pair];
    const from = given.size;
    return { moving: bent(resized(moving, from, size), size, given.centres, moves), fixed: resized(fixed, from, size) };
  };
  let seen = null;
  /** Everything that the pictures show, computed once per result. */
  const current = () => {
    if (seen?.of !== result) {
      const { moving, fixed } = result.images;
      seen = { of: result, moving, fixed, ...result, ...measured(moving, fixed, result) };
    }
    return seen;
  };
  const compute = async () => {
    if (!network || ended) return;
    wanted = true;
    if (running) return; // the newest state is taken up when this run ends
    running = true;
    try {
      while (wanted && !ended) {
        wanted = false;
        const [now, { size }] = [images(), store.state];
        const found = await network.run(now.moving, now.fixed, size);
        result = { ...found.result, images: now };
        store.set({ status: "live", milliseconds: found.milliseconds, shown: store.state.shown + 1 });
        await new Promise(requestAnimationFrame); // let the page be drawn and the pointer be heard
      }
    } finally {
      running = false;
    }
  };
  const start = async () => {
    if (store.state.status !== "recorded") return;
    store.set({ status: "loading" });
    try {
      network = await open();
      await compute();
    } catch (error) {
      network = null;
      store.set({ status: "missing" });
      console.info(`moereg: ${error.message}`);
    }
  };
  const INPUTS = ["pair", "size", "moves"];
  const unsubscribe = store.subscribe((state, keys) => {
    const asked = INPUTS.some((key) => keys.has(key)) || (keys.has("own") && state.pair === "own");
    if (!asked || keys.has("frame")) return;
    if (state.status === "recorded") start();
    else compute();
  });
  return {
    store,
    current,
    start,
    still,
    get network() {
      return network;
    },
    /** A frame of the recording, where there is no network. */
    show(frame) {
      result = recorded[frame];
      store.set({ frame, moves: frames[frame].moves, shown: store.state.shown + 1 });
    },
    destroy() {
      ended = true;
      network?.close();
      unsubscribe();
    },
  };
}

// Where the live view lives: a place on a page of the site, with its data in a script element beside it.

import { hide, html, show } from "../base/view.mjs";
import { openPayload } from "../data/maps.mjs";
import { createModel } from "./model.mjs";
import { openNetwork } from "./network.mjs";
import { resultOf } from "./result.mjs";
import { LiveView } from "./view.mjs";

/** Unpack images and recorded results. */
export async function openRecording(payload) {
  const { read } = await openPayload(payload);
  const image = (entry) => Float64Array.from(read(entry).values);
  const pairs = payload.pairs.map(({ name, moving, fixed }) => ({ name, moving: image(moving), fixed: image(fixed) }));
  const frames = payload.recorded.map(({ moves, arrays }) => {
    const values = Object.fromEntries(Object.entries(arrays).map(([name, entry]) => [name, read(entry).values]));
    return { moves, result: resultOf(payload.size, values, payload.layers, payload.experts) };
  });
  return { given: { ...payload, pairs, frames: frames.length }, frames };
}

/** Build the view into `root`; `folder` is the URL of the runtime's folder, `load` imports a module from there. */
export async function mountLive(root, payload, folder, load) {
  const { given, frames } = await openRecording(payload);
  const model = createModel(given, frames, () => openNetwork(folder, load, payload));
  const draw = () => show(html`<${LiveView} given=${given} model=${model} state=${model.store.state} />`, root);
  draw();
  const unsubscribe = model.store.subscribe(draw);
  return Object.assign(model, {
    remove() {
      unsubscribe();
      model.destroy();
      hide(root);
    },
  });
}

/** Every live view of a page. */
export function mountAll(page, folder, load) {
  return Promise.all(
    [...page.querySelectorAll("[data-moereg-live]:not([data-moereg-alive])")].map(async (place) => {
      place.dataset.moeregAlive = "true";
      const payload = JSON.parse(place.querySelector("script[type='application/json']").textContent);
      place.live = await mountLive(place.querySelector("[data-moereg-mount]"), payload, folder, load);
      return place.live;
    }),
  );
}

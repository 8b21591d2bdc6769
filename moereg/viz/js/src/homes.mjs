// Where the views live: a page of the book or a report calls `mount`, a notebook calls `render`, through anywidget.

import { shareTraits } from "./base/traits.mjs";
import { binary, openPayload } from "./data/maps.mjs";
import { fromTraits, toTraits } from "./data/state.mjs";
import { createSteps } from "./steps.mjs";
import { createExplorer } from "./view.mjs";

/** On a page: `root` holds a static figure, which is replaced once the data is unpacked. */
export async function mount(root, payload, state) {
  if (payload.view === "steps") return createSteps(root, payload, state);
  return createExplorer(root, await openPayload(payload), state);
}

/** Every explorer of a page: a place to mount, and the data in a script element beside it. */
export function mountAll(page) {
  return Promise.all(
    [...page.querySelectorAll("[data-moereg-explorer]:not([data-moereg-alive])")].map(async (place) => {
      place.dataset.moeregAlive = "true";
      const payload = JSON.parse(place.querySelector("script[type='application/json']").textContent);
      place.explorer = await mount(place.querySelector("[data-moereg-mount]"), payload); // for a lecturer's console
      performance.mark("moereg-ready");
      return place.explorer;
    }),
  );
}

/** In a notebook: what is looked at is shared with Python by traits, both ways. */
export const render = ({ model, el }) =>
  model.get("view") === "steps" ? renderSteps(model, el) : renderExplorer(model, el);

const OURS = ["hover", "busy", "live"]; // parts of the state that Python does not have

/**
 * Whether a Python is there at all is asked, not assumed: a saved page keeps the widget's state but has no kernel, so
 * the controls that run the network again appear only after a reply.
 */
async function renderExplorer(model, el) {
  const get = (name) => model.get(name);
  const data = await openPayload(binary(get("payload")));
  const explorer = createExplorer(el, data, fromTraits(data, get));
  const { store } = explorer;
  // Names of layers, tracks and experts are the same in every result of one network: those of the first one will do.
  const traits = shareTraits(model, {
    current: () => toTraits(data, store.state),
    apply: (trait) => store.set(fromTraits(data, trait)),
  });
  store.subscribe((_, keys) => {
    if (![...keys].every((key) => OURS.includes(key))) traits.changed();
  });
  const refresh = async () => explorer.replace(await openPayload(binary(get("payload"))));
  const reply = (message) => {
    if (message.alive) store.set({ live: true });
    if (message.failed) store.set({ busy: false });
  };
  model.on("change:payload", refresh);
  model.on("msg:custom", reply);
  model.send({ hello: true });
  return () => {
    traits.stop();
    model.off("change:payload", refresh);
    model.off("msg:custom", reply);
    explorer.destroy();
  };
}

function renderSteps(model, el) {
  const view = createSteps(el, model.get("payload"), { step: model.get("step") });
  const traits = shareTraits(model, {
    current: () => ({ step: view.store.state.step }),
    apply: (get) => view.store.set({ step: get("step") }),
  });
  view.store.subscribe((_, keys) => keys.has("step") && traits.changed());
  const refresh = () => view.replace(model.get("payload"));
  model.on("change:payload", refresh);
  return () => {
    traits.stop();
    model.off("change:payload", refresh);
    view.destroy();
  };
}

// Entry of moereg/viz/stills.mjs: pictures for every place of a few controls, for notebooks and for saved pages.

import { shareTraits } from "./base/traits.mjs";
import { createStills } from "./stills/view.mjs";

export { createStills } from "./stills/view.mjs";

/** In a notebook, through anywidget: the frame that is shown is shared with Python, both ways. */
export function render({ model, el }) {
  const given = Object.fromEntries(["controls", "frames", "alt", "frame"].map((name) => [name, model.get(name)]));
  const view = createStills(el, given);
  const traits = shareTraits(model, {
    current: () => ({ frame: view.store.state.frame }),
    apply: (get) => view.store.set({ frame: get("frame") }),
  });
  view.store.subscribe(traits.changed);
  return () => {
    traits.stop();
    view.destroy();
  };
}

export default { render };

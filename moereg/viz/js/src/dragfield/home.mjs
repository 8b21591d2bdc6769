// In a notebook, through anywidget: moves, width and reading are shared with Python, both ways.

import { shareTraits } from "../base/traits.mjs";
import { createDragField } from "./view.mjs";

const SHARED = ["moves", "sigma", "reading"];
const GIVEN = ["shape", "centres", "image"];

const read = (names, get) => Object.fromEntries(names.map((name) => [name, get(name)]));

export function render({ model, el }) {
  const view = createDragField(
    el,
    read([...GIVEN, ...SHARED], (name) => model.get(name)),
  );
  const traits = shareTraits(model, {
    current: () => view.store.state,
    apply: (get) => view.store.set(read(SHARED, get)),
  });
  view.store.subscribe(traits.changed);
  return () => {
    traits.stop();
    view.destroy();
  };
}

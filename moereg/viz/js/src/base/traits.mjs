// What is looked at, shared with Python through a widget's traits, both ways.

import { same } from "./numbers.mjs";

const PAUSE = 50; // milliseconds; dragging must not flood the kernel

/**
 * Keep a view and the traits of `model` in step.
 *
 * `current()` gives the traits as the view has them, `apply(get)` sets the view from `get(name)`. Call `changed()`
 * after each change in the view, `stop()` at the end.
 */
export function shareTraits(model, { current, apply }) {
  const names = Object.keys(current());
  // `shared` is what both sides agreed on last: the view sends what differs from it, and only that.
  let [shared, pending, talking] = [current(), null, false];
  const push = () => {
    clearTimeout(pending);
    [pending, talking] = [null, true]; // each `set` below announces a change of its own
    const traits = current();
    for (const name of names) if (!same(shared[name], traits[name])) model.set(name, traits[name]);
    shared = traits;
    model.save_changes();
    talking = false;
  };
  const pull = () => {
    if (talking) return;
    if (pending !== null) push();
    talking = true;
    apply((name) => model.get(name));
    shared = current();
    talking = false;
  };
  for (const name of names) model.on(`change:${name}`, pull);
  return {
    changed() {
      if (!talking) pending ??= setTimeout(push, PAUSE);
    },
    stop() {
      clearTimeout(pending);
      for (const name of names) model.off(`change:${name}`, pull);
    },
  };
}

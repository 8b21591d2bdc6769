// The state of a view. Immutable: a change makes a new state, in which unchanged parts are the same objects.

import { same } from "./numbers.mjs";

/** `set` takes a part of the state; listeners hear `(state, names of what changed)`, and nothing where nothing did. */
export function createStore(state) {
  const listeners = new Set();
  return {
    get state() {
      return state;
    },
    set(change) {
      const changed = Object.entries(change).filter(([key, value]) => !same(state[key], value));
      if (!changed.length) return;
      state = { ...state, ...Object.fromEntries(changed) };
      const keys = new Set(changed.map(([key]) => key));
      for (const listener of [...listeners]) listener(state, keys);
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

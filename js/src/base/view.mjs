// The view library, in one place: preact renders, htm writes its elements as markup in template strings.
//
// Text in a template goes into the page as text. Markup in a name, a label or a title is shown, never obeyed.

import htm from "htm";
import { h, render } from "preact";
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { currentTheme, followTheme } from "./theme.mjs";

export { useCallback, useLayoutEffect, useMemo, useRef, useState };

export const html = htm.bind(h);

/** Draw `view` into `root`, at once. What stood there first comes back if the first drawing fails. */
export function show(view, root) {
  if (root.moeregShown) return render(view, root);
  const before = [...root.childNodes];
  root.replaceChildren();
  try {
    render(view, root);
    root.moeregShown = true;
  } catch (error) {
    root.replaceChildren(...before);
    throw error;
  }
}

/** Take it away, with its listeners and timers. */
export function hide(root) {
  render(null, root);
  root.moeregShown = false;
}

/**
 * A panel, or a part of one, that is drawn again only when the data or one of the named parts of the state has changed.
 *
 * Its view gets `{data, store, state}`. What it does with other parts of the state, it asks `store.state` for.
 */
export const watching = (keys, View) => (props) =>
  useMemo(() => html`<${View} ...${props} />`, [props.data, ...keys.map((key) => props.state[key])]);

let serial = 0;

/** An id that no other element of the page has, the same in every drawing of a component. */
export const useId = (stem) => useMemo(() => `${stem}-${++serial}`, []);

/** "light" or "dark", for `data-theme`; it follows the page while the view is shown. */
export function useTheme() {
  const [theme, setTheme] = useState(currentTheme);
  useLayoutEffect(() => followTheme(setTheme), []);
  return theme;
}

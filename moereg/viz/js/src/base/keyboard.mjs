// Keys that move something by steps.

const STEPS = {
  ArrowUp: ["row", -1],
  ArrowDown: ["row", 1],
  ArrowLeft: ["column", -1],
  ArrowRight: ["column", 1],
  PageUp: ["normal", 1],
  PageDown: ["normal", -1],
  Home: ["home", 0],
};

/**
 * A listener for keydown: calls `onmove(axis, steps)` with "row", "column", "normal" or "home", and `shift` steps
 * where Shift is held. A move that returns false is none of ours: the page gets the key.
 */
export function stepListener(onmove, { shift }) {
  return (event) => {
    const [axis, sign] = STEPS[event.key] ?? [];
    if (!axis || onmove(axis, sign * (event.shiftKey ? shift : 1)) === false) return;
    event.preventDefault();
    event.stopPropagation(); // a notebook would go to another cell
  };
}

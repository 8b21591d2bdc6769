// A pointer over a picture: mouse, finger or pen.

/** Place of an event in an element's box, [down, right], 0 to 1 inside. */
export function placeIn(box, event) {
  return [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
}

/**
 * Listeners for an element that is dragged, or dragged over. All are called with the event.
 *
 * `ondrag`: a move while pressed, wherever the pointer is by then. `onpress`: the press itself. `onhover`: a mouse that
 * moves above without a button. `onleave`: it has left.
 */
export function pointerListeners({ ondrag, onpress, onhover, onleave }) {
  return {
    onpointerdown: (event) => {
      if (event.button) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      onpress?.(event);
    },
    onpointermove: (event) => {
      if (event.currentTarget.hasPointerCapture(event.pointerId)) ondrag(event);
      else if (event.pointerType === "mouse") onhover?.(event);
    },
    onpointerleave: (event) => onleave?.(event),
  };
}

// A canvas with one pixel per voxel, and shapes drawn over it.

import { html, useLayoutEffect, useRef } from "../base/view.mjs";
import { isLight } from "../data/colours.mjs";

/** `pixels() -> Uint8ClampedArray` of rows * columns * 4 bytes, asked for again when one of `given` has changed. */
export function Picture({ rows, columns, pixels, given }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    canvas.current.getContext("2d").putImageData(new ImageData(pixels(), columns, rows), 0, 0);
  }, [rows, columns, ...given]);
  return html`<canvas ref=${canvas} width=${columns} height=${rows} aria-hidden="true" />`;
}

/** Shapes in voxel coordinates, stretched over the picture they lie on. */
export const Overlay = ({ box, kind = null, children }) => html`
  <svg class=${kind} viewBox=${box} preserveAspectRatio="none" aria-hidden="true">${children}</svg>
`;

/** Class of the wider line below a coloured one: light below dark colours, dark below light ones. */
export const under = (name, colour) => (isLight(colour) ? name : `${name} moe-light-under`);

/** A square in an expert's colour that shows on any ground. */
export const Frame = ({ box, colour, ...rest }) => html`
  <rect class=${under("moe-kernel-under", colour)} ...${box} />
  <rect class="moe-kernel" ...${box} stroke=${colour} ...${rest} />
`;

/** Kernels of chosen experts are drawn the stronger the larger their gate. */
export const strength = (gate) => 0.55 + 0.45 * gate;

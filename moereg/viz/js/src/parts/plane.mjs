// One slice: the picture, what lies over it, a pointer and the arrow keys.

import { stepListener } from "../base/keyboard.mjs";
import { clamp } from "../base/numbers.mjs";
import { placeIn, pointerListeners } from "../base/pointer.mjs";
import { html, useMemo } from "../base/view.mjs";
import { paintSlice } from "../data/painters.mjs";
import { aspect, crosshair, extent, onPlane, planeAxes } from "../data/planes.mjs";
import { Overlay, Picture } from "./picture.mjs";

/**
 * The slice of `normal` through the pinned voxel.
 *
 * `paint(voxel) -> [r, g, b]` colours a voxel and `overlay(axes, voxel)` gives the shapes over it; neither is called
 * again before another function comes, or another slice. `extra(axes)` gives shapes that follow the pointer. `label`
 * says what is seen, for people who do not see it; a plane without one is not reached by keyboard.
 */
export function Plane({ data, store, state, name, normal, paint, overlay, extra, label }) {
  const axes = useMemo(() => planeAxes(data, normal), [data, normal]);
  const [rows, columns] = extent(data, axes);
  const slice = state.voxel[normal]; // all that the picture has of the voxel
  const shapes = useMemo(() => overlay(axes, state.voxel), [overlay, axes, slice]);
  const box = `-0.5 -0.5 ${columns} ${rows}`;
  const pixels = () => paintSlice(rows, columns, axes, state.voxel, paint);
  return html`
    <div
      class="moe-plane"
      data-plane=${name}
      style=${{ aspectRatio: aspect(data, axes, rows, columns) }}
      ...${usePointer(data, store, axes)}
      ...${label && { tabindex: 0, role: "application", "aria-roledescription": "slice", "aria-label": label }}
      onkeydown=${label && stepListener((axis, steps) => step(data, store, axes[axis], steps), { shift: 5 })}
    >
      <${Picture} rows=${rows} columns=${columns} pixels=${pixels} given=${[axes, slice, paint]} />
      <${Overlay} box=${box}>${shapes}<//>
      <${Overlay} box=${box} kind="moe-cursor">
        <${Cursor} state=${state} axes=${axes} rows=${rows} columns=${columns} />
        ${extra?.(axes)}
        ${state.hover && html`<${Hovered} voxel=${state.hover} axes=${axes} />`}
      <//>
    </div>
  `;
}

/** The pinned voxel. */
function Cursor({ state, axes, rows, columns }) {
  const d = crosshair(state.voxel[axes.row], state.voxel[axes.column], rows, columns);
  return html`<path class="moe-cross-under" d=${d} /><path class="moe-cross" d=${d} />`;
}

/** The voxel under the pointer. */
const Hovered = ({ voxel, axes }) => html`
  <rect class="moe-hover" x=${voxel[axes.column] - 0.5} y=${voxel[axes.row] - 0.5} width="1" height="1" />
`;

/** A press pins the voxel, a mouse that passes over shows what it would say. */
function usePointer(data, store, axes) {
  return useMemo(() => {
    const [rows, columns] = extent(data, axes);
    const under = (event) => {
      const [down, right] = placeIn(event.currentTarget.getBoundingClientRect(), event);
      const [r, c] = [clamp(Math.floor(down * rows), 0, rows - 1), clamp(Math.floor(right * columns), 0, columns - 1)];
      return onPlane(axes, store.state.voxel, r, c);
    };
    const pin = (event) => pinVoxel(store, under(event));
    return pointerListeners({
      onpress: pin,
      ondrag: pin,
      onhover: (event) => store.set({ hover: under(event) }),
      onleave: () => store.set({ hover: null }),
    });
  }, [data, store, axes]);
}

export const pinVoxel = (store, voxel) => store.set({ voxel, hover: null });

/** Move the pinned voxel along an axis of the image; false where the slice has no such axis. */
function step(data, store, axis, steps) {
  if (!(axis >= 0)) return false;
  const voxel = [...store.state.voxel];
  voxel[axis] = clamp(voxel[axis] + steps, 0, data.shape[axis] - 1);
  pinVoxel(store, voxel);
}

/** A small slice with a button below that makes it the large one. */
export const SmallPlane = ({ caption, onenlarge, ...plane }) => html`
  <div class="moe-small">
    <${Plane} ...${plane} />
    <button type="button" class="moe-caption" aria-label=${`Enlarge ${caption}`} onclick=${onenlarge}>
      ${caption}
    </button>
  </div>
`;

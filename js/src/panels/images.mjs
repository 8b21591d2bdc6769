// The images: one plane large, the other two small.

import { html, useCallback, watching } from "../base/view.mjs";
import { fieldName } from "../data/fields.mjs";
import { imagePainter } from "../data/painters.mjs";
import { normalOf, planeName } from "../data/planes.mjs";
import { focus } from "../data/state.mjs";
import { Card, Choice, Slider, Toggle } from "../parts/controls.mjs";
import { pinVoxel, Plane, SmallPlane } from "../parts/plane.mjs";
import { Arrows, DeformedGrid, Outline, Reach } from "../parts/shapes.mjs";

const IMAGES = [
  ["fixed", "Fixed"],
  ["moving", "Moving"],
  ["warped", "Warped"],
  ["checkerboard", "Checker"],
  ["difference", "Difference"],
];

/** Which labels are outlined on which image. */
const WARPED_ON_FIXED = [
  ["fixed", "dashed"],
  ["warped", "solid"],
];
const OUTLINES = {
  fixed: [["fixed", "solid"]],
  moving: [["moving", "solid"]],
  warped: WARPED_ON_FIXED,
  checkerboard: [["fixed", "solid"]],
  difference: WARPED_ON_FIXED,
};

export function ImagePanel(given) {
  const { data, state } = given;
  const { image, field, labels, grid, arrows } = state;
  const normal = normalOf(data, state);
  const [paint, overlay] = [usePainter(data, image, field), useOverlay(data, { image, field, labels, grid, arrows })];
  const extra = (axes) => kernelsOf(data, state, axes);
  const shown = { ...given, paint, overlay, extra };
  return html`
    <${Card} title="Images" kind="moe-images">
      <div class="moe-tools">
        <${ImageChoice} ...${given} />
      </div>
      <div class="moe-stage">
        <${Plane} name="image" normal=${normal} label=${describe(data, image, normal)} ...${shown} />
      </div>
      ${normal >= 0 && html`<${SliceSlider} ...${given} />`}
      <div class="moe-strip">${otherAxes(data, normal).map((axis, slot) => smallPlane(axis, slot, shown))}</div>
      <div class="moe-tools"><${Toggles} ...${given} /></div>
      <label class="moe-field">Field<${FieldSelect} ...${given} /></label>
      <p class="moe-note">${labels && OUTLINES[image].length === 2 ? "Outlines: warped solid, fixed dashed." : ""}</p>
    <//>
  `;
}

const ImageChoice = watching(
  ["image"],
  ({ store, state }) => html`
    <${Choice} legend="Image" options=${IMAGES} value=${state.image} onchange=${(image) => store.set({ image })} />
  `,
);

const usePainter = (data, image, field) => useCallback(imagePainter(data, image, field), [data, image, field]);

/** Everything over the image that stays where it is while the pointer moves. */
function useOverlay(data, { image, field, labels, grid, arrows }) {
  const overlay = (axes, voxel) => {
    const place = { data, field, voxel, axes };
    const outlines = labels && data.labels ? OUTLINES[image] : [];
    return [
      ...outlines.map(([which, kind]) => html`<${Outline} which=${which} kind=${kind} ...${place} />`),
      grid && html`<${DeformedGrid} ...${place} />`,
      arrows && html`<${Arrows} ...${place} />`,
    ];
  };
  return useCallback(overlay, [data, image, field, labels, grid, arrows]);
}

/** Chosen kernels, or the window of the heads, at the voxel that is spoken about. */
function kernelsOf(data, state, axes) {
  const layer = data.layers[state.layer];
  if (!state.kernels || !layer) return null;
  return html`<${Reach} data=${data} layer=${layer} track=${state.track} voxel=${focus(state)} axes=${axes} />`;
}

/** What the large plane shows, and what its keys do. */
function describe(data, image, normal) {
  const [, kind] = IMAGES.find(([key]) => key === image);
  const [plane, keys] =
    normal < 0 ? ["the image", "."] : [`${planeName(data, normal)} plane`, ", Page Up and Page Down change the slice."];
  return `${kind} image, ${plane}. Arrow keys move the voxel${keys}`;
}

/** Axes that the small planes cut. */
const otherAxes = (data, normal) => (normal < 0 ? [] : data.axes.map((_, axis) => axis).filter((a) => a !== normal));

function smallPlane(axis, slot, shown) {
  const { data, store, state } = shown;
  return html`<${SmallPlane}
    name=${`image-${slot}`}
    normal=${axis}
    caption=${`${planeName(data, axis)} · ${data.axes[axis]} ${state.voxel[axis]}`}
    onenlarge=${() => store.set({ plane: axis })}
    ...${shown}
  />`;
}

const SliceSlider = watching(["plane", "voxel"], ({ data, store, state: { plane, voxel } }) => {
  const move = (place) =>
    pinVoxel(
      store,
      store.state.voxel.map((v, axis) => (axis === store.state.plane ? place : v)),
    );
  return html`<${Slider}
    label=${`${data.axes[plane]} slice`}
    text=${`${voxel[plane]}`}
    min="0"
    max=${data.shape[plane] - 1}
    value=${voxel[plane]}
    oninput=${move}
  />`;
});

/** What is drawn over the image, each part on or off. */
const Toggles = watching(["grid", "arrows", "labels", "kernels", "layer"], ({ data, store, state }) => {
  const reach = data.layers[state.layer]?.attention ? "Window" : "Kernels";
  const names = { grid: "Grid", arrows: "Arrows", labels: data.labels && "Outlines", kernels: reach };
  return Object.entries(names).map(
    ([name, label]) =>
      label &&
      html`<${Toggle}
        key=${name}
        pressed=${state[name]}
        hidden=${name === "kernels" && !data.layers.length}
        onchange=${(on) => store.set({ [name]: on })}
      >
        ${label}
      <//>`,
  );
});

/** The field that is applied. Knock-outs and training steps are chosen elsewhere, and named here. */
const FieldSelect = watching(["field"], ({ data, store, state: { field } }) => {
  const offered = ["result", "none", ...data.steps.map((_, i) => `step:${i}`)];
  const listed = offered.includes(field);
  return html`
    <select
      class="moe-select"
      aria-label="Field that is applied"
      value=${listed ? field : "other"}
      onchange=${(event) => store.set({ field: event.currentTarget.value })}
    >
      ${offered.map(
        (name) => html`
          <option value=${name}>${name === "none" ? "before (no displacement)" : fieldName(data, name)}</option>
        `,
      )}
      <option value="other" hidden>${listed ? "" : fieldName(data, field)}</option>
    </select>
  `;
});

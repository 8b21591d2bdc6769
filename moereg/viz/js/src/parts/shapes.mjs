// What lies over a slice: outlines, grid, arrows, kernels, windows.

import { html } from "../base/view.mjs";
import { attentionWindow, kernelExtents } from "../data/extents.mjs";
import { arrows, deformedGrid, outline } from "../data/planes.mjs";
import { Frame, strength } from "./picture.mjs";

/** Borders of labels: `kind` is solid, dashed, or map. */
export const Outline = ({ data, which, field, voxel, axes, kind }) => html`
  <path class=${`moe-outline moe-outline-${kind}`} d=${outline(data, which, field, voxel, axes)} data-labels=${which} />
`;

export const DeformedGrid = ({ data, field, voxel, axes }) => html`
  <path class="moe-grid" d=${deformedGrid(data, field, voxel, axes)} />
`;

export function Arrows({ data, field, voxel, axes }) {
  const d = arrows(data, field, voxel, axes);
  return html`<path class="moe-arrows-under" d=${d} /><path class="moe-arrows" d=${d} />`;
}

/** Chosen kernels at true size, or the window of the chosen heads. */
export function Reach({ data, layer, track, voxel, axes }) {
  if (layer.attention) {
    const window = attentionWindow(data, layer, track, voxel, axes);
    return window && html`<${Frame} box=${window.box} colour=${layer.colours[window.expert]} data-window="true" />`;
  }
  return kernelExtents(data, layer, track, voxel, axes).map(
    ({ expert, extent, gate, box }) => html`
      <${Frame}
        box=${box}
        colour=${layer.colours[expert]}
        data-expert=${layer.experts[expert]}
        data-extent=${extent}
        stroke-opacity=${strength(gate)}
      />
    `,
  );
}

// A close look at the voxel, as far as the layer has something to show.

import { clamp, percent, sum } from "../base/numbers.mjs";
import { html } from "../base/view.mjs";
import { arrowChain, layerCentre } from "../data/extents.mjs";
import { imagePainter, paintPixels } from "../data/painters.mjs";
import { aspect, normalOf, onPlane, planeAxes } from "../data/planes.mjs";
import { attentionAt, decisionAt, hasKernels } from "../data/routing.mjs";
import { Swatch } from "../parts/controls.mjs";
import { Frame, Overlay, Picture, strength, under } from "../parts/picture.mjs";

export function Lenses({ data, layer, state, voxel }) {
  const axes = planeAxes(data, normalOf(data, state));
  const decision = decisionAt(data, layer, state.track, voxel);
  const given = { data, layer, state, voxel, axes, decision };
  if (!layer.attention) return hasKernels(layer) && html`<${KernelLens} ...${given} />`;
  const source = imageLookedAt(layer, state.track);
  return attentionAt(data, layer, state.track, voxel).map(
    (head) => html`<${AttentionLens} source=${source} head=${head} ...${given} />`,
  );
}

// ------------------------------------------------------------------------------------------- convolution experts

const FINE = 4; // pixels per voxel of the level

/** The image around the voxel, kernels at true size, the experts' arrows head to tail. */
function KernelLens(given) {
  const { data, layer, voxel, axes, decision } = given;
  const reach = Math.max(...layer.kernels.map((k) => k ?? 1)) / 2 + 0.75; // in voxels of the level
  const chain = arrowChain(data, layer, voxel, axes, reach);
  const scale = chain?.scale ?? 1;
  const note = scale === 1 ? "arrows at true size" : `arrows ×${scale}`;
  return html`
    <figure class="moe-lens">
      <div style=${{ aspectRatio: aspect(data, axes, 1, 1) }}>
        <${Surroundings} reach=${reach} ...${given} />
        <${Overlay} box=${`${-reach} ${-reach} ${2 * reach} ${2 * reach}`}>
          ${layer.kernels.map((k, e) => html`<${Kernel} layer=${layer} e=${e} decision=${decision} />`)}
          ${chain && html`<${Chain} layer=${layer} chain=${chain} />`}
        <//>
      </div>
      <figcaption>${`Kernels at true size, one square is one voxel of the level; ${note}`}</figcaption>
    </figure>
  `;
}

/** `reach` voxels of the level to each side, darker than the image, nothing beyond its border. */
function Surroundings({ data, layer, state, voxel, axes, decision, reach }) {
  const size = Math.round(2 * reach * FINE);
  const centre = layerCentre(layer, decision.place);
  const pixels = () => {
    const paint = imagePainter(data, state.image, state.field);
    const fetched = (axis, i) => Math.round(centre[axis] + ((i + 0.5) / FINE - reach) * layer.stride[axis]);
    return paintPixels(size, size, (r, c) => {
      const [row, column] = [fetched(axes.row, r), fetched(axes.column, c)];
      const inside = row >= 0 && column >= 0 && row < data.shape[axes.row] && column < data.shape[axes.column];
      return inside ? paint(onPlane(axes, voxel, row, column)).map((v) => v * 0.8) : null;
    });
  };
  const { image, field, plane } = state;
  const given = [data, layer, image, field, plane, voxel.join(",")];
  return html`<${Picture} rows=${size} columns=${size} pixels=${pixels} given=${given} />`;
}

function Kernel({ layer, e, decision: { chosen, gates } }) {
  const [k, colour] = [layer.kernels[e], layer.colours[e]];
  const box = { x: -k / 2, y: -k / 2, width: k, height: k };
  if (chosen.includes(e)) return html`<${Frame} box=${box} colour=${colour} stroke-opacity=${strength(gates[e])} />`;
  return html`<rect class="moe-kernel moe-kernel-off" ...${box} stroke=${colour} stroke-opacity="0.8" />`;
}

const Chain = ({ layer, chain }) => html`
  <path class="moe-chain-sum" d=${chain.sum} />
  ${chain.links.map(
    ({ expert, d }) => html`
      <path class=${under("moe-chain-under", layer.colours[expert])} d=${d} />
      <path class="moe-chain" d=${d} stroke=${layer.colours[expert]} data-expert=${layer.experts[expert]} />
    `,
  )}
`;

// ------------------------------------------------------------------------------------------------ attention heads

/** Keys and values are those of the token's own image, or, in the cross form, of the other one. */
function imageLookedAt(layer, track) {
  const own = layer.tracks[track].includes("moving") ? "moving" : "fixed";
  return layer.attention.cross ? { moving: "fixed", fixed: "moving" }[own] : own;
}

/** A token's window in the image it looks at, a disc on every token that one head attends to. */
function AttentionLens({ source, head, ...given }) {
  const { data, layer, axes, decision } = given;
  const { expert, gate, low, high, weights } = head;
  const [rows, columns] = [axes.row, axes.column].map((axis) => high[axis] - low[axis]);
  const most = Math.max(...weights);
  const seen = inSlice(head, axes, decision.place);
  const share = sum(seen.map(([, weight]) => weight));
  return html`
    <figure class="moe-lens moe-attention" data-head=${layer.experts[expert]} data-source=${source}>
      <div style=${{ aspectRatio: aspect(data, axes, rows, columns) }}>
        <${Window} source=${source} low=${low} high=${high} ...${given} />
        <${Overlay} box=${`0 0 ${columns} ${rows}`}>
          ${seen.map(
            ([token, weight]) => html`<circle
              class="moe-disc"
              cx=${token[axes.column] - low[axes.column] + 0.5}
              cy=${token[axes.row] - low[axes.row] + 0.5}
              r=${0.46 * Math.sqrt(weight / most)}
              fill=${layer.colours[expert]}
              data-token=${token.join(",")}
              data-weight=${weight}
            />`,
          )}
          <rect
            class="moe-token"
            x=${decision.place[axes.column] - low[axes.column]}
            y=${decision.place[axes.row] - low[axes.row]}
            width="1"
            height="1"
          />
        <//>
      </div>
      <figcaption>
        <${Swatch} colour=${layer.colours[expert]} />
        ${` ${layer.experts[expert]}, gate ${gate.toFixed(2)}, looks at the ${source} image: `}
        ${`${percent(share)} in this slice, at most ${percent(most)} on one token`}
      </figcaption>
    </figure>
  `;
}

/** `[token, weight]` of the window's tokens that lie in the slice shown. */
const inSlice = ({ tokens, weights }, { normal }, place) =>
  tokens.map((token, i) => [token, weights[i]]).filter(([token]) => normal < 0 || token[normal] === place[normal]);

/** The part of an image that a window of tokens covers, darker than the image. */
function Window({ data, layer, state, voxel, axes, source, low, high }) {
  const [rows, columns] = [axes.row, axes.column].map((axis) => (high[axis] - low[axis]) * layer.stride[axis]);
  const pixels = () => {
    const paint = imagePainter(data, source, "result");
    // The first token's voxels begin half a stride before it.
    const fetched = (axis, i) =>
      clamp(low[axis] * layer.stride[axis] + i - (layer.stride[axis] >> 1), 0, data.shape[axis] - 1);
    return paintPixels(rows, columns, (r, c) =>
      paint(onPlane(axes, voxel, fetched(axes.row, r), fetched(axes.column, c))).map((v) => v * 0.7),
    );
  };
  const given = [data, layer, source, state.plane, voxel.join(",")];
  return html`<${Picture} rows=${rows} columns=${columns} pixels=${pixels} given=${given} />`;
}

// What happened at the voxel under the pointer, or at the pinned one.

import { signed, sum } from "../base/numbers.mjs";
import { html, useLayoutEffect, useState } from "../base/view.mjs";
import { displacementAt } from "../data/fields.mjs";
import { contributionsAt, decisionAt, ownShare } from "../data/routing.mjs";
import { organAt, spoken } from "../data/sentences.mjs";
import { focus } from "../data/state.mjs";
import { Stack } from "../parts/bars.mjs";
import { Card } from "../parts/controls.mjs";
import { Lenses } from "./lenses.mjs";
import { ShareBars } from "./shares.mjs";
import { RouteTable } from "./table.mjs";

const OWN = ["result", "none"]; // fields beside which the result's decisions need no word
const PAUSE = 200; // milliseconds of rest before the live text speaks

/** Everything that is asked at one voxel, asked once; `layer` and what follows are null where nothing is routed. */
export function look(data, state) {
  const voxel = focus(state);
  const u = displacementAt(data, state.field, voxel);
  const layer = data.layers[state.layer] ?? null;
  const decision = layer && decisionAt(data, layer, state.track, voxel);
  const shares = layer && contributionsAt(data, layer, voxel);
  return { voxel, u, layer, decision, shares };
}

export function VoxelPanel({ data, store, state, seen }) {
  const { voxel, u, layer, decision, shares } = seen;
  const share = layer && ownShare(data, layer, state.track, shares);
  return html`
    <${Card} title="At this voxel" kind="moe-voxel" data-voxel=${voxel.join(",")}>
      <${Where} data=${data} state=${state} seen=${seen} displacement=${u.join(",")}>
        ${layer && !OWN.includes(state.field) && html`<span>decisions are those of the result</span>`}
      <//>
      <div class="moe-lenses">
        ${layer && html`<${Lenses} data=${data} layer=${layer} state=${state} voxel=${voxel} />`}
      </div>
      <div class="moe-scroll">
        ${layer && html`<${RouteTable} layer=${layer} state=${state} decision=${decision} share=${share} />`}
      </div>
      <div class="moe-sums">
        ${shares && html`<${ShareBars} data=${data} layer=${layer} shares=${shares} state=${state} store=${store} />`}
      </div>
      <${Live} text=${spoken(data, state, voxel, u, decision)} />
    <//>
  `;
}

/** Voxel, organ, displacement. */
function Where({ data, state, seen: { voxel, u }, displacement = null, children }) {
  return html`
    <p class="moe-where">
      <strong>${voxel.map((v, axis) => `${data.axes[axis]} ${v}`).join("\u2002")}</strong>
      <span>${organAt(data, state, voxel) || "no label"}</span>
      <span data-displacement=${displacement}>${`u = (${u.map((v) => signed(v)).join(", ")})`}</span>
      ${children}
    </p>
  `;
}

/** Text that is read aloud, once the pointer rests. */
function Live({ text }) {
  const [said, say] = useState("");
  useLayoutEffect(() => {
    const timer = setTimeout(() => say(text), PAUSE);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<p class="moe-live" role="status" aria-live="polite">${said}</p>`;
}

/** The decision in one line, for a narrow screen where the finger is far from the panel. */
export function Pocket({ data, state, seen }) {
  const { layer, decision } = seen;
  return html`
    <div class="moe-pocket" aria-hidden="true">
      ${
        layer &&
        html`
          <${Where} data=${data} state=${state} seen=${seen} />
          <span class="moe-track moe-stack"><${Stack} layer=${layer} pieces=${gatePieces(layer, decision)} /></span>
        `
      }
    </div>
  `;
}

function gatePieces(layer, { chosen, gates }) {
  const total = sum(chosen.map((e) => gates[e])) || 1;
  return chosen.map((e) => [e, gates[e] / total, `${layer.experts[e]} ${gates[e].toFixed(2)}`]);
}

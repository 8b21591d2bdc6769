// Load of every expert in every layer and direction, and a way to get there.

import { html } from "../base/view.mjs";
import { snapshotOf } from "../data/fields.mjs";
import { forLayer } from "../data/routing.mjs";
import { loadInWords } from "../data/sentences.mjs";
import { Stack } from "../parts/bars.mjs";
import { Card } from "../parts/controls.mjs";

export function LoadPanel({ data, store, state }) {
  const snapshot = snapshotOf(data, state.field);
  const when = snapshot ? ` at training step ${snapshot.step}` : "";
  return html`
    <${Card} title="Load" kind="moe-load">
      <p class="moe-note">${`Share of assignments each expert got${when}.`}</p>
      <div class="moe-groups">
        ${data.layers.map(
          (layer, l) => html`
            <div class="moe-loads" role="group" aria-label=${layer.name}>
              <h4>${layer.name}</h4>
              ${layer.tracks.map(
                (name, track) => html`<${Load}
                  layer=${layer}
                  name=${name}
                  load=${snapshot?.layers[layer.name]?.load[track] ?? layer.load[track]}
                  pressed=${l === state.layer && track === state.track}
                  onpick=${() => store.set({ ...forLayer(data, store.state, l), track })}
                />`,
              )}
            </div>
          `,
        )}
      </div>
    <//>
  `;
}

function Load({ layer, name, load, pressed, onpick }) {
  const pieces = load.map((share, e) => [e, share, layer.experts[e].replace(/^head /, "")]);
  return html`
    <button
      type="button"
      class="moe-sum"
      data-load=${`${layer.name}/${name}`}
      aria-pressed=${String(pressed)}
      aria-label=${`${layer.name} ${name}: ${loadInWords(layer, load)}`}
      onclick=${onpick}
    >
      <b>${name}</b>
      <span class="moe-track moe-stack" aria-hidden="true"><${Stack} layer=${layer} pieces=${pieces} /></span>
    </button>
  `;
}

// The explorer: its panels around one store.

import { createStore } from "./base/store.mjs";
import { hide, html, show, useTheme, watching } from "./base/view.mjs";
import { fieldName } from "./data/fields.mjs";
import { initialState } from "./data/state.mjs";
import { AgainPanel } from "./panels/again.mjs";
import { ImagePanel } from "./panels/images.mjs";
import { KnockoutPanel } from "./panels/knockouts.mjs";
import { LoadPanel } from "./panels/load.mjs";
import { RoutingPanel } from "./panels/routing.mjs";
import { TrainingPanel } from "./panels/training.mjs";
import { look, Pocket, VoxelPanel } from "./panels/voxel.mjs";

const Load = watching(["layer", "track", "field"], LoadPanel);
const Knockouts = watching(["layer", "field"], KnockoutPanel);
const Again = watching(["layer", "live", "k", "without", "temperature", "busy"], AgainPanel);
const Training = watching(["layer", "track", "field"], TrainingPanel);

/** A model without routed layers has images and a displacement at every voxel, and no more. */
function Explorer(given) {
  const { data, state } = given;
  const [routed, seen] = [data.layers.length > 0, look(data, state)];
  return html`
    <div
      class="moe"
      role="region"
      aria-label=${`Explorer: ${data.title}`}
      data-theme=${useTheme()}
      data-ready="true"
    >
      <header class="moe-head">
        <h2>${data.title}</h2>
        <span class="moe-badge">${state.field === "result" ? "" : `Shown: ${fieldName(data, state.field)}`}</span>
      </header>
      <div class="moe-columns">
        <${ImagePanel} ...${given} />
        ${routed && html`<${RoutingPanel} ...${given} />`}
        <${VoxelPanel} seen=${seen} ...${given} />
      </div>
      <div class="moe-more">${routed && html`<${More} ...${given} />`}</div>
      <${Pocket} seen=${seen} ...${given} />
    </div>
  `;
}

const More = (given) => html`
  <${Load} ...${given} />
  <${Knockouts} ...${given} />
  <${Again} ...${given} />
  ${given.data.snapshots.length > 1 && html`<${Training} ...${given} />`}
`;

/**
 * Build the explorer of an opened payload into `root`.
 *
 * Returns `{store, replace, destroy}`: `store.state` is what is looked at, `store.set({voxel: [12, 20, 31]})` moves it.
 */
export function createExplorer(root, data, state = {}) {
  const store = createStore({ ...initialState(data), ...state });
  const draw = () => show(html`<${Explorer} data=${data} store=${store} state=${store.state} />`, root);
  draw();
  const unsubscribe = store.subscribe(draw);
  return {
    store,
    /** Show another result of the same network and pair; what it does not bring along stays. */
    replace(other) {
      data = { ...data, ...other };
      const kept = data.knockouts.length || !store.state.field.startsWith("knockout:");
      store.set({ busy: false, field: kept ? store.state.field : "result" });
      draw();
    },
    destroy() {
      unsubscribe();
      hide(root);
    },
  };
}

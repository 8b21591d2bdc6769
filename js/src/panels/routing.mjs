// Maps of the routed layer: the chosen direction large, the others small.

import { ordinal, plain } from "../base/numbers.mjs";
import { html, useCallback, watching } from "../base/view.mjs";
import { cssColour, ENTROPY } from "../data/colours.mjs";
import { gateStops, routingPainter } from "../data/painters.mjs";
import { normalOf } from "../data/planes.mjs";
import { forLayer, hasKernels, trackLegend, trackName } from "../data/routing.mjs";
import { mapName } from "../data/sentences.mjs";
import { Card, Choice } from "../parts/controls.mjs";
import { Plane, SmallPlane } from "../parts/plane.mjs";
import { Outline } from "../parts/shapes.mjs";

const SMALL = 2; // maps of other directions

export function RoutingPanel(given) {
  const { data, store, state } = given;
  const layer = layerOf(data, state);
  const shown = { ...given, normal: normalOf(data, state), overlay: useOutline(data, state.labels) };
  const others = layer.tracks.map((_, i) => i).filter((i) => i !== state.track);
  return html`
    <${Card} title="Routing" kind="moe-routing">
      <div class="moe-tools">
        <${LayerSelect} ...${given} />
        <div class="moe-slot"><${TrackChoice} ...${given} /></div>
      </div>
      <div class="moe-stage">
        <${MapOf} view=${Plane} track=${state.track} name="map" label=${describe(layer, state)} ...${shown} />
      </div>
      <div class="moe-tools">
        <${ShowChoice} ...${given} />
        <p class="moe-scale"><${Scale} ...${given} /></p>
      </div>
      <div class="moe-tools">
        <div class="moe-slot"><${ExpertChoice} ...${given} /></div>
      </div>
      <div class="moe-strip">${others.slice(0, SMALL).map(
        (track, slot) => html`<${MapOf}
          view=${SmallPlane}
          track=${track}
          name=${`map-${slot}`}
          caption=${trackName(layer, track)}
          onenlarge=${() => store.set({ track })}
          ...${shown}
        />`,
      )}</div>
      <p class="moe-note">${noteOn(layer)}</p>
    <//>
  `;
}

/** What the large map shows, and what its keys do. */
const describe = (layer, state) =>
  `${mapName(layer, state)}, ${layer.name}, ${trackName(layer, state.track)}. Arrow keys move the voxel.`;

/** A plane, large or small, that shows one track of the layer. */
function MapOf({ view, track, ...shown }) {
  const { data, state } = shown;
  const { layer, show, expert, field } = state;
  const paint = routingPainter(data, data.layers[layer], track, state);
  const kept = useCallback(paint, [data, layer, track, show, expert, field]);
  return html`<${view} paint=${kept} ...${shown} />`;
}

/** Organs of the fixed image, on every map. */
function useOutline(data, labels) {
  const overlay = (axes, voxel) =>
    labels && data.labels
      ? html`<${Outline} data=${data} which="fixed" kind="map" field="result" voxel=${voxel} axes=${axes} />`
      : null;
  return useCallback(overlay, [data, labels]);
}

const layerOf = (data, state) => data.layers[state.layer];

const LayerSelect = watching(
  ["layer"],
  ({ data, store, state }) => html`
    <select
      class="moe-select"
      aria-label="Routed layer"
      value=${state.layer}
      onchange=${(event) => store.set(forLayer(data, store.state, Number(event.currentTarget.value)))}
    >
      ${data.layers.map(({ name }, i) => html`<option value=${i}>${name}</option>`)}
    </select>
  `,
);

const TrackChoice = watching(["layer", "track"], ({ data, store, state }) => {
  const layer = layerOf(data, state);
  return html`<${Choice}
    legend=${trackLegend(layer)}
    options=${layer.tracks.map((name, i) => [i, name])}
    value=${state.track}
    onchange=${(track) => store.set({ track })}
    compact
  />`;
});

const ExpertChoice = watching(["layer", "expert"], ({ data, store, state }) => {
  const layer = layerOf(data, state);
  return html`<${Choice}
    legend=${hasKernels(layer) ? "Expert (kernel)" : "Expert (head)"}
    options=${layer.experts.map((name, i) => [i, name.replace(/^head /, ""), layer.colours[i]])}
    value=${state.expert}
    onchange=${(expert) => store.set({ expert, show: "gate" })}
    compact
  />`;
});

const ShowChoice = watching(["layer", "expert", "show"], ({ data, store, state }) => {
  const options = [
    ["first", "First expert"],
    ["gate", `Gate of ${layerOf(data, state).experts[state.expert]}`],
    ["entropy", "Entropy"],
  ];
  return html`<${Choice}
    legend="Map"
    options=${options}
    value=${state.show}
    onchange=${(show) => store.set({ show })}
  />`;
});

/** The colour scale of a gate or entropy map. */
const Scale = watching(["layer", "expert", "show"], ({ data, state }) => {
  const { show, expert } = state;
  const layer = layerOf(data, state);
  if (show === "first") return null;
  const [stops, most] =
    show === "gate" ? [gateStops(layer, expert), "1"] : [ENTROPY, `${plain(Math.log(layer.experts.length))} nats`];
  const background = `linear-gradient(90deg, ${stops.map(cssColour).join(", ")})`;
  return html`0<i class="moe-ramp" style=${{ background }} />${most}`;
});

const noteOn = (layer) =>
  (layer.every > 1 ? `Every ${ordinal(layer.every - 1)} voxel of this layer is stored. ` : "") +
  `Grid ${layer.grid.join("\u2009×\u2009")}, one voxel of it is ${layer.stride[0]} of the image. ` +
  `${layer.k} of ${layer.experts.length} experts are chosen.`;

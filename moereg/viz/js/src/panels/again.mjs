// Controls that run the network again in Python: experts in use, k, temperature of the router's softmax.

import { closest, plain } from "../base/numbers.mjs";
import { html } from "../base/view.mjs";
import { METRICS, shownMetrics } from "../data/sentences.mjs";
import { Button, Card, Slider, Swatch } from "../parts/controls.mjs";

const TEMPERATURES = [0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 4, 8];
const AS_TRAINED = { k: {}, without: {}, temperature: 1 };

export function AgainPanel({ data, store, state }) {
  const layer = data.layers[state.layer];
  const ask = (change) => store.set({ ...change, field: "result", busy: true });
  const out = new Set(state.without[layer.name] ?? []);
  const most = layer.experts.length - out.size;
  const k = Math.min(state.k[layer.name] ?? layer.k, most);
  return html`
    <${Card} title="Run again" kind="moe-again" hidden=${!state.live} data-busy=${String(Boolean(state.busy))}>
      <p class="moe-note">A change runs the network again on this pair.</p>
      <${Experts} layer=${layer} out=${out} onchange=${(experts) =>
        ask({ without: { ...store.state.without, [layer.name]: experts } })} />
      <${Slider}
        label="Experts per voxel, k"
        text=${`${k}`}
        min="1"
        max=${most}
        value=${k}
        oninput=${(value) => ask({ k: { ...store.state.k, [layer.name]: value } })}
      />
      <${Slider}
        label="Softmax temperature"
        text=${`${state.temperature}`}
        min="0"
        max=${TEMPERATURES.length - 1}
        value=${closest(TEMPERATURES, state.temperature)}
        oninput=${(i) => ask({ temperature: TEMPERATURES[i] })}
      />
      <${Button} onclick=${() => ask(AS_TRAINED)}>As trained<//>
      <p class="moe-scores" role="status">${state.busy ? "Running…" : scores(data)}</p>
    <//>
  `;
}

/** A box per expert; the last one in use cannot be left out. `onchange` gets the names of those that are. */
function Experts({ layer, out, onchange }) {
  const toggled = (name, used) => {
    const now = new Set(out);
    if (used) now.delete(name);
    else now.add(name);
    onchange([...now].sort());
  };
  const box = (name, e) => html`
    <label key=${name}>
      <input
        type="checkbox"
        value=${name}
        checked=${!out.has(name)}
        disabled=${!out.has(name) && out.size === layer.experts.length - 1}
        onchange=${(event) => toggled(name, event.currentTarget.checked)}
      />
      <${Swatch} colour=${layer.colours[e]} />${name}
    </label>
  `;
  return html`
    <fieldset class="moe-checks">
      <legend>${`Experts in use, ${layer.name}`}</legend>
      ${layer.experts.map(box)}
    </fieldset>
  `;
}

/** Scores of this run beside those of the network as it was trained. */
function scores(data) {
  const trained = data.trained ?? data.metrics;
  const number = (metrics, key) => plain(metrics[key], METRICS[key][1]);
  return shownMetrics(data.metrics)
    .map((key) => `${METRICS[key][0]} ${number(data.metrics, key)} (as trained ${number(trained, key)})`)
    .join(", ");
}

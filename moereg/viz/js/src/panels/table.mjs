// Logits -> softmax -> top-k -> gates (-> share of the displacement), one row per expert.

import { ordinal, signed } from "../base/numbers.mjs";
import { html } from "../base/view.mjs";
import { trackName } from "../data/routing.mjs";
import { Bar } from "../parts/bars.mjs";
import { Swatch } from "../parts/controls.mjs";

/** `share` are the experts' shares of the direction that the track decides on, or null. */
export function RouteTable({ layer, state, decision, share }) {
  const head = ["Expert", "Logit", "Softmax", `Top\u2011${layer.k}`, "Gate", ...(share ? ["Moves"] : [])];
  const scales = {
    logit: Math.max(1, ...decision.logits.map(Math.abs)),
    share: share && Math.max(0.1, ...share.map(Math.abs)),
  };
  return html`
    <table class="moe-route">
      <caption>${`${layer.name}, ${trackName(layer, state.track)}`}</caption>
      <thead>
        <tr>
          ${head.map((text) => html`<th scope="col">${text}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${layer.experts.map(
          (name, e) => html`<${Row}
            key=${name}
            layer=${layer}
            e=${e}
            here=${e === state.expert}
            decision=${decision}
            share=${share}
            scales=${scales}
          />`,
        )}
      </tbody>
    </table>
  `;
}

function Row({ layer, e, here, decision: { logits, probabilities, chosen, gates }, share, scales }) {
  const [name, colour, rank] = [layer.experts[e], layer.colours[e], chosen.indexOf(e)];
  const dropped = rank < 0;
  const cell = { colour, low: 0, high: 1 };
  const logit = layer.left_out.includes(e) ? "out" : signed(logits[e]);
  return html`
    <tr data-expert=${name} class=${dropped ? "moe-dropped" : ""} aria-current=${here ? "true" : null}>
      <th scope="row"><${Swatch} colour=${colour} />${name}</th>
      <${Cell} name="logit" value=${logits[e]} text=${logit} ...${cell} low=${-scales.logit} high=${scales.logit} />
      <${Cell} name="softmax" value=${probabilities[e]} text=${probabilities[e].toFixed(2)} ...${cell} />
      <td data-value="rank" data-number=${rank}>${dropped ? "\u2013" : ordinal(rank)}</td>
      <${Cell} name="gate" value=${gates[e]} text=${dropped ? "0" : gates[e].toFixed(2)} ...${cell} />
      ${
        share &&
        html`<${Cell}
          name="share"
          value=${share[e]}
          text=${dropped ? "0" : signed(share[e])}
          ...${cell}
          low=${-scales.share}
          high=${scales.share}
        />`
      }
    </tr>
  `;
}

const Cell = ({ name, value, text, low, high, colour }) => html`
  <td data-value=${name} data-number=${value}>
    <span>${text}</span>
    <${Bar} value=${value} low=${low} high=${high} colour=${colour} />
  </td>
`;

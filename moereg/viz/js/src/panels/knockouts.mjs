// The result without one expert: what it changes, and how well the images still match.

import { plain } from "../base/numbers.mjs";
import { html, useId } from "../base/view.mjs";
import { METRICS, shownMetrics } from "../data/sentences.mjs";
import { Bar } from "../parts/bars.mjs";
import { Card, Swatch } from "../parts/controls.mjs";

export function KnockoutPanel({ data, store, state }) {
  const layer = data.layers[state.layer];
  const mine = data.knockouts.map((knockout, i) => ({ ...knockout, i })).filter((k) => k.layer === layer.name);
  const shown = shownMetrics(data.metrics);
  const most = Math.max(...mine.map(({ change }) => change), 1e-6);
  const given = { name: useId("moe-knockout"), store, shown, now: state.field };
  return html`
    <${Card} title="Knock-out" kind="moe-knockout" hidden=${!mine.length}>
      <p class="moe-note">The network was run again without one expert of this layer.</p>
      <div class="moe-scroll">
        <table class="moe-route">
          <caption>${layer.name}</caption>
          <thead>
            <tr>
              ${["Left out", "Field changes", ...shown.map((key) => METRICS[key][0])].map(
                (text) => html`<th scope="col">${text}</th>`,
              )}
            </tr>
          </thead>
          <tbody>
            <${Row} key="result" field="result" metrics=${data.metrics} label="none" ...${given} />
            ${mine.map(
              ({ i, expert, change, metrics }) => html`<${Row}
                key=${i}
                field=${`knockout:${i}`}
                metrics=${metrics}
                label=${layer.experts[expert]}
                colour=${layer.colours[expert]}
                change=${{ value: change, low: 0, high: most }}
                ...${given}
              />`,
            )}
          </tbody>
        </table>
      </div>
    <//>
  `;
}

/** One result; `change` is how far its field is from the result's, on the scale of all rows. */
function Row({ name, store, shown, now, field, metrics, label, colour, change }) {
  const id = useId("moe-without");
  return html`
    <tr data-field=${field}>
      <th scope="row">
        <input
          type="radio"
          name=${name}
          id=${id}
          value=${field}
          checked=${field === now}
          onchange=${() => store.set({ field })}
        />
        <label for=${id}>${colour && html`<${Swatch} colour=${colour} />`}${label}</label>
      </th>
      <td data-number=${change?.value}>
        ${change && html`${plain(change.value)}<${Bar} ...${change} colour=${colour} />`}
      </td>
      ${shown.map((key) => html`<td data-number=${metrics[key]}>${plain(metrics[key], METRICS[key][1])}</td>`)}
    </tr>
  `;
}

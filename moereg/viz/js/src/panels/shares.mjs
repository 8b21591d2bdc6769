// For each direction: the experts' shares of the level's step laid end to end, and their sum.

import { signed, sum } from "../base/numbers.mjs";
import { html } from "../base/view.mjs";
import { endToEnd } from "../data/bars.mjs";

const NOTE = "Experts\u2019 shares add up to this level\u2019s step, in voxels of the level.";
const HALF = 48; // percent of the bar on either side of zero

export function ShareBars({ data, layer, shares, state, store }) {
  const span = Math.max(0.25, ...shares.map((row) => sum(row.map(Math.abs))));
  return html`
    <p class="moe-note">${NOTE}</p>
    ${shares.map(
      (row, direction) => html`<${ShareBar}
        key=${direction}
        name=${data.axes[direction]}
        layer=${layer}
        row=${row}
        span=${span}
        pressed=${direction === state.track}
        onpick=${() => direction < layer.tracks.length && store.set({ track: direction })}
      />`,
    )}
  `;
}

function ShareBar({ name, layer, row, span, pressed, onpick }) {
  const total = sum(row);
  return html`
    <button
      type="button"
      class="moe-sum"
      data-direction=${name}
      data-total=${total}
      aria-label=${`Direction ${name}, sum ${signed(total)} voxels`}
      aria-pressed=${String(pressed)}
      onclick=${onpick}
    >
      <b>${name}</b>
      <span class="moe-track">
        <i class="moe-zero" style=${{ left: "50%" }} />
        ${endToEnd(row).map(
          ({ e, start, value }) => html`<i
            class="moe-piece"
            title=${`${layer.experts[e]} ${signed(value)}`}
            style=${{
              left: `${place(start, span)}%`,
              width: `${(Math.abs(value) / span) * HALF}%`,
              background: layer.colours[e],
            }}
          />`,
        )}
        <i class="moe-total" style=${{ left: `${place(total, span)}%` }} />
      </span>
      <span class="moe-number">${signed(total)}</span>
    </button>
  `;
}

const place = (value, span) => 50 + (value / span) * HALF;

// Bars: one number each, or shares laid end to end.

import { percent } from "../base/numbers.mjs";
import { html } from "../base/view.mjs";
import { placeOn, span } from "../data/bars.mjs";
import { isLight } from "../data/colours.mjs";

/** A bar from zero; `low` and `high` are the ends of its scale. */
export const Bar = ({ value, low, high, colour }) => html`
  <span class="moe-bar" aria-hidden="true">
    ${low < 0 && html`<i class="moe-zero" style=${{ left: `${placeOn(0, low, high)}%` }} />`}
    <i style=${{ ...span(value, low, high), background: colour }} />
  </span>
`;

/** Pieces of a stacked bar in experts' colours, `[[expert, share, text], ...]`; the text stands where there is room. */
export const Stack = ({ layer, pieces }) =>
  pieces.map(([e, share, text]) => {
    const tone = isLight(layer.colours[e]) ? "moe-dark-text" : "moe-light-text";
    const style = { width: `${share * 100}%`, background: layer.colours[e] };
    return html`<i class=${tone} style=${style} title=${`${layer.experts[e]} ${percent(share)}`}>
      ${share > 0.14 ? text : ""}
    </i>`;
  });

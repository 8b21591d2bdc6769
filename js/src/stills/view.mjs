// Controls over pictures that were computed beforehand: they work where no Python is.

import { createStore } from "../base/store.mjs";
import { hide, html, show, useId, useTheme } from "../base/view.mjs";
import { choicesOf, frameOf, inWords } from "./choice.mjs";

const FEW = 5; // values that are shown side by side; more of them are a slider

function Stills({ given, store, frame }) {
  const { controls, frames } = given;
  const choices = choicesOf(controls, frame);
  const choose = (k, value) => {
    const next = choices.map((old, i) => (i === k ? value : old));
    store.set({ frame: frameOf(controls, next) });
  };
  const { source, text } = frames[frame];
  const words = inWords(controls, choices);
  return html`
    <div
      class="mst"
      role="group"
      aria-label=${`Pictures for ${controls.map(({ label }) => label).join(", ")}`}
      data-theme=${useTheme()}
      data-ready="true"
      data-frame=${frame}
    >
      <div class="mst-controls">
        ${controls.map(
          (control, k) => html`<${Control} control=${control} chosen=${choices[k]} choose=${(value) => choose(k, value)} />`,
        )}
      </div>
      ${source && html`<img src=${source} alt=${given.alt ? `${given.alt} Shown: ${words}.` : words} />`}
      ${text && html`<pre class="mst-text">${text}</pre>`}
      <span class="mst-said" aria-live="polite">${`Shown: ${words}.`}</span>
    </div>
  `;
}

function Control({ control: { label, values }, chosen, choose }) {
  const name = useId("mst");
  if (values.length > FEW)
    return html`
      <label>
        ${label}
        <input
          type="range"
          min="0"
          max=${values.length - 1}
          value=${chosen}
          aria-valuetext=${values[chosen]}
          oninput=${(event) => choose(Number(event.currentTarget.value))}
        />
        <span class="mst-value">${values[chosen]}</span>
      </label>
    `;
  return html`
    <fieldset>
      <legend>${label}</legend>
      ${values.map(
        (value, place) => html`
          <label>
            <input type="radio" name=${name} checked=${place === chosen} onchange=${() => choose(place)} />
            ${` ${value}`}
          </label>
        `,
      )}
    </fieldset>
  `;
}

/** Draw into `root`. `given`: controls `[{label, values}]`, frames `[{source, text}]`, alt, frame. Returns `{store, destroy}`. */
export function createStills(root, given) {
  const store = createStore({ frame: given.frame });
  const draw = () => show(html`<${Stills} given=${given} store=${store} frame=${store.state.frame} />`, root);
  draw();
  const unsubscribe = store.subscribe(draw);
  return {
    store,
    destroy() {
      unsubscribe();
      hide(root);
    },
  };
}

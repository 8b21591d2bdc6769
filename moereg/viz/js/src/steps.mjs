// One decision, step by step: a picture, a sentence with the numbers, and the line of the library that does it.

import { clamp, plain, signed } from "./base/numbers.mjs";
import { createStore } from "./base/store.mjs";
import { hide, html, show, useTheme } from "./base/view.mjs";
import { placeOn, span } from "./data/bars.mjs";
import { cssColour, DIFFERENCE, ramp } from "./data/colours.mjs";
import { readingTime } from "./data/sentences.mjs";
import { Button, Slider, Swatch, Toggle } from "./parts/controls.mjs";

function Walk({ walk, store, state: { step, playing } }) {
  const last = walk.steps.length - 1;
  const { sentence, quote } = walk.steps[step];
  const go = (to) => store.set({ step: clamp(to, 0, last) });
  const play = (on) => {
    if (on && store.state.step === last) go(0);
    store.set({ playing: on });
  };
  return html`
    <div
      class="moe moe-walk"
      role="region"
      aria-label=${`Step by step: ${walk.title}`}
      data-theme=${useTheme()}
      data-ready="true"
      data-step=${step}
    >
      <header class="moe-head"><h2>${walk.title}</h2></header>
      <div class="moe-tools">
        <${Button} disabled=${step === 0} onclick=${() => go(step - 1)}>Back<//>
        <${Toggle} pressed=${playing} onchange=${play}>${playing ? "Pause" : "Play"}<//>
        <${Button} disabled=${step === last} onclick=${() => go(step + 1)}>Next<//>
        <${Slider} label="Step" text=${`${step + 1} of ${last + 1}`} min="0" max=${last} value=${step} oninput=${go} />
      </div>
      <div class="moe-walk-body">
        <ol class="moe-steps">
          ${walk.steps.map(({ title }, i) => html`<${Title} title=${title} i=${i} here=${i === step} onpick=${go} />`)}
        </ol>
        <div class="moe-card">
          <p class="moe-sentence" role="status" aria-live="polite">${sentence}</p>
          <${Figures} walk=${walk} shown=${walk.steps[step]} />
          <figure class="moe-quote">
            <pre><code>${quote.code}</code></pre>
            <figcaption>${`${quote.function}, ${quote.file}, line ${quote.line}`}</figcaption>
          </figure>
        </div>
      </div>
    </div>
  `;
}

const Title = ({ title, i, here, onpick }) => html`
  <li>
    <button
      type="button"
      data-here=${here ? "" : null}
      aria-current=${here ? "step" : null}
      onclick=${() => onpick(i)}
    >
      <b>${i + 1}</b>${title}
    </button>
  </li>
`;

/** Features, a bar per expert that keeps its place from step to step, and what they come to. */
const Figures = ({ walk, shown: { bars, strip, total } }) => html`
  <div class="moe-picture">
    <${Strip} values=${strip ?? []} hidden=${!strip} />
    ${walk.experts.map(
      (name, e) => html`<${Row} key=${name} name=${name} colour=${walk.colours[e]} e=${e} bars=${bars} />`,
    )}
    <p class="moe-result" hidden=${!total}>${total ?? ""}</p>
  </div>
`;

/** Values as colours, one beside the other. */
function Strip({ values, hidden }) {
  const most = Math.max(...values.map(Math.abs), 1e-6);
  const background = (value) => cssColour(ramp(DIFFERENCE, 0.5 + value / most / 2));
  return html`
    <div class="moe-features" aria-hidden="true" hidden=${hidden}>
      ${values.map((value) => html`<i style=${{ background: background(value) }} title=${signed(value)} />`)}
    </div>
  `;
}

const EMPTY = { values: [], low: 0, high: 1, digits: 2, faint: [] };

/** An expert's number; the bar stays where it is, so that one sees logits become probabilities and gates. */
function Row({ name, colour, e, bars }) {
  const { values, low, high, digits, faint } = bars ?? EMPTY;
  const value = values[e] ?? null;
  const number = value === null ? "\u2013" : low < 0 ? signed(value, digits) : plain(value, digits);
  return html`
    <div
      class=${faint.includes(e) ? "moe-row moe-dropped" : "moe-row"}
      data-expert=${name}
      data-number=${value ?? ""}
      hidden=${!bars}
    >
      <span><${Swatch} colour=${colour} />${name}</span>
      <span class="moe-track">
        <i style=${{ ...span(value ?? 0, low, high), background: colour }} />
        <i class="moe-zero" style=${{ left: `${placeOn(0, low, high)}%` }} hidden=${low >= 0} />
      </span>
      <span class="moe-number">${number}</span>
    </div>
  `;
}

/**
 * Walk one voxel through a routed layer.
 *
 * `walk` comes from moereg/viz/steps.py: `{title, experts, colours, steps}`, a step being
 * `{title, sentence, quote, bars, strip, total}`, and perhaps `pace`, milliseconds per step. Returns
 * `{store, replace, destroy}`, as the explorer does.
 */
export function createSteps(root, walk, state = {}) {
  const store = createStore({ step: 0, playing: false, ...state });
  const draw = () => show(html`<${Walk} walk=${walk} store=${store} state=${store.state} />`, root);
  let timer = null;
  draw();
  const unsubscribe = store.subscribe(({ step, playing }, keys) => {
    if (keys.has("playing") || (keys.has("step") && playing)) {
      clearTimeout(timer);
      if (playing && step === walk.steps.length - 1) return store.set({ playing: false });
      const pace = walk.pace ?? readingTime(walk.steps[step].sentence);
      if (playing) timer = setTimeout(() => store.set({ step: step + 1 }), pace);
    }
    draw();
  });
  return {
    store,
    /** Another decision. */
    replace(other) {
      walk = other;
      store.set({ playing: false, step: clamp(store.state.step, 0, walk.steps.length - 1) });
      draw();
    },
    destroy() {
      clearTimeout(timer);
      unsubscribe();
      hide(root);
    },
  };
}

// The live view: four pictures, their controls, and what they say in words.

import { stepListener } from "../base/keyboard.mjs";
import { clamp, plain } from "../base/numbers.mjs";
import { placeIn, pointerListeners } from "../base/pointer.mjs";
import { html, useId, useLayoutEffect, useRef, useTheme } from "../base/view.mjs";
import { drawExperts, drawGrey, drawResult, WIDE } from "./drawing.mjs";
import { within } from "./images.mjs";
import { STATUS } from "./model.mjs";
import { OwnImages } from "./own.mjs";
import { decision, sentence } from "./result.mjs";

const LEVELS = ["fine", "middle", "coarse"];
const TRACKS = ["down", "across"];
const SHOWN = { warped: "moved by the network", grid: "grid on the moving image", difference: "difference" };

export function LiveView({ given, model, state }) {
  const seen = model.current();
  const recordedOnly = state.status === "missing";
  const id = useId("mlv");
  return html`
    <section
      class="mlv"
      aria-label="A network that registers two images in this page"
      data-theme=${useTheme()}
      data-ready="true"
      data-status=${state.status}
      data-shown=${state.shown}
      data-size=${seen.size}
    >
      <div class="mlv-panels">
        <${Panel} title="Drag: the moving image" note="pull a handle">
          <${Stage} id=${id} given=${given} model=${model} state=${state} seen=${seen} still=${recordedOnly} />
        <//>
        <${Panel} title="Target: the fixed image" note="stays as it is">
          <${Drawing} label="Fixed image." draw=${(pen) => drawGrey(pen, seen.fixed, seen.size)} given=${[seen]} />
        <//>
        <${Panel} title="Result: the registered image" note=${SHOWN[state.show]}>
          <${Drawing}
            label=${`Result: ${SHOWN[state.show]}.`}
            draw=${(pen) => drawResult(pen, state.show, seen)}
            given=${[seen, state.show]}
          />
        <//>
        <${Panel} title="Experts: who moved it" note="colour: largest gate">
          <${Experts} given=${given} model=${model} state=${state} seen=${seen} />
        <//>
      </div>
      <${Legend} given=${given} seen=${seen} />
      <output class="mlv-said" aria-live="polite">${said(state, seen)}</output>
      ${recordedOnly
        ? html`<${Frames} given=${given} model=${model} state=${state} />`
        : html`<${Tools} given=${given} model=${model} state=${state} id=${id} />`}
      <${Choices} model=${model} state=${state} />
      <p class="mlv-hint" id=${id}>
        ${STATUS[state.status]}${" "}
        ${state.status === "recorded" &&
        html`<button type="button" class="mlv-button" onclick=${model.start}>
          Run the network here (${given.megabytes} MB)
        </button>`}
      </p>
      ${!recordedOnly && html`<${OwnImages} given=${given} model=${model} state=${state} />`}
    </section>
  `;
}

function said({ status, milliseconds, place, layer, track }, seen) {
  const time = status === "live" && milliseconds ? ` ${Math.round(milliseconds)} ms.` : "";
  const at = place && place[0] < seen.layers[layer].grid && place[1] < seen.layers[layer].grid ? place : null;
  const why = at && ` Here, ${TRACKS[track]}: ${decision(seen.layers[layer], track, ...at)} voxels of this level.`;
  return sentence(seen) + time + (why || "");
}

const Panel = ({ title, note, children }) => {
  const [word, rest] = title.split(": ");
  return html`
    <figure>
      <figcaption><b>${word}</b> ${rest}<small>${note}</small></figcaption>
      ${children}
    </figure>
  `;
};

/** A canvas that is drawn again when one of `given` is another. */
function Drawing({ label, draw, given, canvas }) {
  const own = useRef();
  const ref = canvas ?? own;
  useLayoutEffect(() => draw(ref.current.getContext("2d")), given);
  return html`<canvas ref=${ref} width=${WIDE} height=${WIDE} role="img" aria-label=${label} />`;
}

/** The moving image with a handle on each bump. */
function Stage({ id, given, model, state, seen, still }) {
  const canvas = useRef();
  const draw = (pen) => drawGrey(pen, seen.moving, seen.size);
  return html`
    <div class="mlv-stage">
      <${Drawing} label="Moving image." draw=${draw} given=${[seen]} canvas=${canvas} />
      ${!still &&
      given.centres.map(
        (centre, k) =>
          html`<${Handle} key=${k} k=${k} id=${id} centre=${centre} model=${model} state=${state} over=${canvas} />`,
      )}
    </div>
  `;
}

function Handle({ k, id, centre, model, state, over }) {
  const { store } = model;
  const [down, right] = state.moves[k];
  const moveTo = (...move) => store.set({ moves: store.state.moves.map((old, i) => (i === k ? within(move) : old)) });
  const drag = (event) => {
    const [row, column] = placeIn(over.current.getBoundingClientRect(), event);
    moveTo(row - centre[0], column - centre[1]);
  };
  const step = (axis, steps) => {
    if (axis === "normal") return false;
    const part = steps / store.state.size;
    moveTo(...{ row: [down + part, right], column: [down, right + part], home: [0, 0] }[axis]);
  };
  const words = (value) => plain(value * state.size, 0);
  return html`
    <button
      type="button"
      class="mlv-handle"
      aria-describedby=${id}
      aria-label=${`Handle ${k + 1}: ${words(down)} down, ${words(right)} right, in voxels; arrow keys move it`}
      style=${{ left: `${(centre[1] + right) * 100}%`, top: `${(centre[0] + down) * 100}%` }}
      onkeydown=${stepListener(step, { shift: 4 })}
      ...${pointerListeners({ ondrag: drag })}
    >
      ${k + 1}
    </button>
  `;
}

/** The experts' map; a press or the arrow keys ask about a place. */
function Experts({ given, model, state, seen }) {
  const { store } = model;
  const layer = seen.layers[state.layer];
  const last = layer.grid - 1;
  const ask = (event) => {
    const [down, right] = placeIn(event.currentTarget.getBoundingClientRect(), event);
    store.set({ place: [down, right].map((part) => clamp(Math.floor(part * layer.grid), 0, last)) });
  };
  const step = (axis, steps) => {
    if (axis === "normal") return false;
    const [row, column] = store.state.place ?? [Math.floor(last / 2), Math.floor(last / 2)];
    const place = { row: [row + steps, column], column: [row, column + steps], home: [0, 0] }[axis];
    store.set({ place: place.map((value) => clamp(value, 0, last)) });
  };
  const label = `Experts of the ${LEVELS[state.layer]} level, ${TRACKS[state.track]}; arrow keys ask about a place.`;
  return html`
    <div
      class="mlv-ask"
      tabindex="0"
      role="application"
      aria-roledescription="map"
      aria-label=${label}
      onkeydown=${stepListener(step, { shift: 4 })}
      ...${pointerListeners({ onpress: ask, ondrag: ask })}
    >
      <${Drawing}
        label=${label}
        draw=${(pen) => drawExperts(pen, layer, state.track, given.colours, state.place)}
        given=${[seen, state.layer, state.track, state.place]}
      />
    </div>
  `;
}

const Legend = ({ given, seen }) => html`
  <p class="mlv-legend">
    <span>Experts are filters, told apart by how far they look:</span>
    ${seen.layers[0].experts.map(
      (name, e) => html`<span><i style=${{ background: given.colours[e] }} aria-hidden="true" />${` ${name} voxels`}</span>`,
    )}
    <span><i class="mlv-pale" aria-hidden="true" /> pale: hardly moved</span>
  </p>
`;

/** What may be changed where there is a network. */
const Tools = ({ given, model: { store, still }, state }) => html`
  <div class="mlv-tools">
    <label>
      Choose a pair
      <select onchange=${(event) => choosePair(store, still, event.currentTarget.value)}>
        ${given.pairs.map(({ name }, k) => html`<option value=${k} selected=${state.pair === k}>${name}</option>`)}
        ${state.own.moving &&
        state.own.fixed &&
        html`<option value="own" selected=${state.pair === "own"}>your own images</option>`}
      </select>
    </label>
    <label>
      Set the size
      <select onchange=${(event) => store.set({ size: Number(event.currentTarget.value), place: null })}>
        ${given.sizes.map((size) => html`<option value=${size} selected=${state.size === size}>${size} × ${size}</option>`)}
      </select>
    </label>
    <button type="button" class="mlv-button" onclick=${() => store.set({ moves: still })}>Handles back home</button>
  </div>
`;

const choosePair = (store, still, value) =>
  store.set({ pair: value === "own" ? value : Number(value), moves: still, place: null });

/** The recording, place by place, where there is no network. */
const Frames = ({ given, model, state }) => html`
  <div class="mlv-tools">
    <label>
      Play the recording
      <input
        type="range"
        min="0"
        max=${given.frames - 1}
        value=${state.frame}
        aria-valuetext=${`frame ${state.frame + 1} of ${given.frames}`}
        oninput=${(event) => model.show(Number(event.currentTarget.value))}
      />
    </label>
  </div>
`;

/** What of a result is shown. */
const Choices = ({ model: { store }, state }) => html`
  <div class="mlv-tools">
    <${Radios} legend="Show the result" options=${Object.entries({ warped: "moved", grid: "grid", difference: "difference" })}
      value=${state.show} onchange=${(show) => store.set({ show })} />
    <${Radios} legend="Pick a direction" options=${TRACKS.map((name, k) => [k, name])}
      value=${state.track} onchange=${(track) => store.set({ track })} />
    <${Radios} legend="Pick a level" options=${LEVELS.map((name, k) => [k, name])}
      value=${state.layer} onchange=${(layer) => store.set({ layer, place: null })} />
  </div>
`;

function Radios({ legend, options, value, onchange }) {
  const name = useId("mlv-choice");
  return html`
    <fieldset>
      <legend>${legend}</legend>
      ${options.map(
        ([key, label]) => html`
          <label>
            <input type="radio" name=${name} checked=${key === value} onchange=${() => onchange(key)} />
            ${` ${label}`}
          </label>
        `,
      )}
    </fieldset>
  `;
}

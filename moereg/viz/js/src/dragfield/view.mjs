// A displacement field that one drags.

import { stepListener } from "../base/keyboard.mjs";
import { placeIn, pointerListeners } from "../base/pointer.mjs";
import { createStore } from "../base/store.mjs";
import { hide, html, show, useId, useLayoutEffect, useMemo, useRef, useTheme } from "../base/view.mjs";
import { fromBase64 } from "../data/maps.mjs";
import { drawMoving, drawWarped, scaleOf } from "./drawing.mjs";
import { fieldOf, overImage } from "./field.mjs";

const HINT =
  "Drag a handle, or focus it and use the arrow keys (Shift: a quarter of a voxel, Home: back to its centre).";
const SEEN = {
  moving: "Moving image; over it a grid that shows where each voxel of the fixed grid looks.",
  warped: "Warped image; folded voxels are coloured.",
};
const minus = (text) => text.replace("-", "\u2212");

function DragField({ given, start, store, state }) {
  const { moves, sigma, reading } = state;
  const id = useId("mdf");
  const field = useMemo(() => fieldOf(given, state), [moves, sigma, reading]);
  const { least, folded } = field;
  const voxels = given.shape[0] * given.shape[1];
  const folds = folded.length ? `${folded.length} of ${voxels} voxels folded.` : "No voxel folded.";
  return html`
    <div
      class="mdf"
      role="region"
      aria-label="A displacement field to drag"
      data-theme=${useTheme()}
      data-ready="true"
      data-least=${least}
      data-folded=${folded.length}
      data-moves=${JSON.stringify(moves)}
    >
      <${Tools} id=${id} start=${start} store=${store} state=${state} />
      <div class="mdf-panels">
        <figure>
          <figcaption>moving image, and where x + u(x) lies</figcaption>
          <${Stage} id=${id} given=${given} store=${store} field=${field} moves=${moves} />
        </figure>
        <figure>
          <figcaption>warped image, moving[x + u(x)]</figcaption>
          <${Drawing}
            label=${SEEN.warped}
            shape=${given.shape}
            draw=${(pen) => drawWarped(pen, given, field)}
            of=${field}
          />
        </figure>
      </div>
      <output class="mdf-said" aria-live="polite">
        ${`Smallest Jacobian determinant ${minus(least.toFixed(2))}. ${folds}`}
      </output>
      <p class="mdf-hint" id=${id}>${HINT}</p>
    </div>
  `;
}

const Tools = ({ id, start, store, state: { sigma, reading } }) => html`
  <div class="mdf-tools">
    <label>
      Width σ
      <input
        type="range"
        min="2"
        max="16"
        step="0.5"
        value=${sigma}
        aria-label="Width of the bumps, voxels"
        oninput=${(event) => store.set({ sigma: Number(event.currentTarget.value) })}
      />
      <span class="mdf-number">${`${sigma} voxels`}</span>
    </label>
    <span role="radiogroup" aria-label="Read the bumps as">
      Read as
      ${["displacement", "velocity"].map(
        (name) => html`
          <label>
            <input
              type="radio"
              name=${`${id}-reading`}
              value=${name}
              checked=${name === reading}
              onchange=${() => store.set({ reading: name })}
            />
            ${` ${name} `}
          </label>
        `,
      )}
    </span>
    <button type="button" class="mdf-reset" onclick=${() => store.set(start)}>Start again</button>
  </div>
`;

/** A picture that is drawn again when the field is another one. */
function Drawing({ label, shape: [rows, columns], draw, of, canvas }) {
  const own = useRef();
  const ref = canvas ?? own;
  const scale = scaleOf([rows, columns]);
  useLayoutEffect(() => draw(ref.current.getContext("2d")), [of]);
  return html`<canvas ref=${ref} width=${columns * scale} height=${rows * scale} role="img" aria-label=${label} />`;
}

/** The moving image with a handle on each bump. */
function Stage({ id, given, store, field, moves }) {
  const canvas = useRef();
  const draw = (pen) => drawMoving(pen, given, field, moves);
  return html`
    <div class="mdf-stage">
      <${Drawing} label=${SEEN.moving} shape=${given.shape} draw=${draw} of=${field} canvas=${canvas} />
      ${given.centres.map(
        (_, k) =>
          html`<${Handle} key=${k} k=${k} id=${id} given=${given} store=${store} move=${moves[k]} over=${canvas} />`,
      )}
    </div>
  `;
}

function Handle({ k, id, given, store, move: [down, right], over }) {
  const { shape, centres } = given;
  const [y, x] = centres[k];
  const moveTo = (...move) => {
    const kept = overImage(shape, centres[k], move);
    store.set({ moves: store.state.moves.map((old, i) => (i === k ? kept : old)) });
  };
  const drag = (event) => {
    const [row, column] = placeIn(over.current.getBoundingClientRect(), event);
    moveTo(row * shape[0] - 0.5 - y, column * shape[1] - 0.5 - x);
  };
  const step = (axis, steps) => {
    if (axis === "normal") return false;
    moveTo(...{ row: [down + steps, right], column: [down, right + steps], home: [0, 0] }[axis]);
  };
  const words = (value) => minus(value.toFixed(1));
  return html`
    <button
      type="button"
      class="mdf-handle"
      aria-describedby=${id}
      aria-label=${`Handle ${k + 1}: ${words(down)} down, ${words(right)} right, in voxels`}
      style=${{ left: `${((x + right + 0.5) / shape[1]) * 100}%`, top: `${((y + down + 0.5) / shape[0]) * 100}%` }}
      onkeydown=${stepListener(step, { shift: 0.25 })}
      ...${pointerListeners({ ondrag: drag })}
    >
      ${k + 1}
    </button>
  `;
}

/**
 * Draw into `root`. `given`: shape, centres, image (base64 of bytes), moves, sigma, reading.
 *
 * Returns `{store, destroy}`; the store's state is `{moves, sigma, reading}`.
 */
export function createDragField(root, { moves, sigma, reading, ...rest }) {
  const given = { ...rest, image: Float64Array.from(fromBase64(rest.image), (byte) => byte / 255) };
  const start = { moves, sigma, reading };
  const store = createStore(start);
  const draw = () =>
    show(html`<${DragField} given=${given} start=${start} store=${store} state=${store.state} />`, root);
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

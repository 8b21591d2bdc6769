// Controls that more than one panel has.

import { html, useId } from "../base/view.mjs";

/** A titled part of the view. */
export const Card = ({ title, kind, hidden = false, children, ...rest }) => html`
  <section class=${`moe-card ${kind}`} aria-label=${title} hidden=${hidden} ...${rest}>
    <h3>${title}</h3>
    ${children}
  </section>
`;

/** A square in an expert's colour. */
export const Swatch = ({ colour }) => html`<i class="moe-swatch" style=${{ background: colour }} />`;

/** A row of radio buttons that looks like one control. `options` is `[[value, label, swatch?], ...]`. */
export function Choice({ legend, options, value, onchange, compact = false }) {
  const name = useId("moe-choice");
  const option = ([key, label, swatch]) => html`
    <label>
      <input type="radio" name=${name} value=${key} checked=${key === value} onchange=${() => onchange(key)} />
      <span>${swatch && html`<${Swatch} colour=${swatch} />`}${label}</span>
    </label>
  `;
  return html`
    <fieldset class=${compact ? "moe-choice moe-compact" : "moe-choice"}>
      <legend>${legend}</legend>
      ${options.map(option)}
    </fieldset>
  `;
}

/** A button. */
export const Button = ({ onclick, disabled = false, children }) => html`
  <button type="button" class="moe-toggle" disabled=${disabled} onclick=${onclick}>${children}</button>
`;

/** A button that stays pressed. */
export const Toggle = ({ pressed, onchange, hidden = false, children }) => html`
  <button
    type="button"
    class="moe-toggle"
    hidden=${hidden}
    aria-pressed=${String(Boolean(pressed))}
    onclick=${() => onchange(!pressed)}
  >
    ${children}
  </button>
`;

/** A labelled range input; `text` is what its place means. */
export function Slider({ label, text, min, max, value, oninput }) {
  const id = useId("moe-slider");
  return html`
    <div class="moe-slider">
      <label for=${id}>${label}</label>
      <input
        type="range"
        id=${id}
        min=${min}
        max=${max}
        step="1"
        value=${value}
        aria-valuetext=${text}
        oninput=${(event) => oninput(Number(event.currentTarget.value))}
      />
      <output for=${id}>${text}</output>
    </div>
  `;
}

// Saved steps of the training: a slider, a play button, and the load of the chosen layer over time.

import { plain } from "../base/numbers.mjs";
import { html, useLayoutEffect, useState } from "../base/view.mjs";
import { areas } from "../data/bars.mjs";
import { trackName } from "../data/routing.mjs";
import { Button, Card, Slider, Toggle } from "../parts/controls.mjs";

const PAUSE = 700; // milliseconds per step
const [WIDTH, HEIGHT] = [300, 80];

export function TrainingPanel({ data, store, state }) {
  const last = data.snapshots.length - 1;
  const [playing, play] = usePlaying(store, last);
  const layer = data.layers[state.layer];
  const shown = shownStep(state, last);
  const { step, metrics } = data.snapshots[shown];
  const loads = data.snapshots.map(({ layers }) => layers[layer.name]?.load[state.track] ?? []);
  const dice = "dice" in metrics ? ` Dice at step ${step}: ${plain(metrics.dice, 3)}.` : "";
  return html`
    <${Card} title="Training" kind="moe-training">
      <p class="moe-note">${`Load of ${layer.name}, ${trackName(layer, state.track)}, while it was trained.${dice}`}</p>
      <svg class="moe-chart" viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
        ${areas(loads, layer.experts.length, [WIDTH, HEIGHT]).map(
          (d, e) => html`<path class="moe-area" d=${d} style=${{ fill: layer.colours[e] }} />`,
        )}
        <path class="moe-marker" d=${`M${(shown / last) * WIDTH} 0V${HEIGHT}`} />
      </svg>
      <${Slider}
        label="Training step"
        text=${`step ${step}`}
        min="0"
        max=${last}
        value=${shown}
        oninput=${(i) => store.set({ field: `snapshot:${i}` })}
      />
      <div class="moe-tools">
        <${Toggle} pressed=${playing} onchange=${play}>${playing ? "Pause" : "Play"}<//>
        <${Button} onclick=${() => store.set({ field: "result" })}>Result<//>
      </div>
    <//>
  `;
}

/** Number of the snapshot that is shown; the result is the last one's. */
const shownStep = (state, last) => (state.field.startsWith("snapshot:") ? Number(state.field.slice(9)) : last);

/** `[playing, play(on)]`: from the first step where the last one is shown, and until the last one. */
function usePlaying(store, last) {
  const [playing, setPlaying] = useState(false);
  useLayoutEffect(() => {
    if (!playing) return undefined;
    const timer = setInterval(() => {
      const next = shownStep(store.state, last) + 1;
      if (next > last) setPlaying(false);
      else store.set({ field: `snapshot:${next}` });
    }, PAUSE);
    return () => clearInterval(timer);
  }, [playing]);
  const play = (on) => {
    if (on && shownStep(store.state, last) === last) store.set({ field: "snapshot:0" });
    setPlaying(on);
  };
  return [playing, play];
}

// What the views say in words.

import { labelAt, labelName } from "./fields.mjs";
import { spokenNumber, sum } from "../base/numbers.mjs";
import { contributionsAt, ownShare, trackName } from "./routing.mjs";

/** Name of the fixed image's organ at a voxel; empty where there is none. */
export const organAt = (data, state, voxel) => labelName(data, labelAt(data, "fixed", state.field, voxel));

/** The live text: where, what was decided, what it moved. `decision` is null where no layer is routed. */
export function spoken(data, state, voxel, u, decision) {
  const where = voxel.map((v, axis) => `${data.axes[axis]} ${v}`).join(", ");
  const organ = organAt(data, state, voxel);
  const place = `Voxel ${where}${organ ? `, ${organ}` : ""}`;
  if (!decision) return `${place}, displacement ${u.map(spokenNumber).join(", ")} voxels.`;
  const layer = data.layers[state.layer];
  const share = ownShare(data, layer, state.track, contributionsAt(data, layer, voxel));
  const parts = decision.chosen.map((e) => {
    const moved = share ? ` moves ${spokenNumber(share[e])}` : "";
    return `${layer.experts[e]} gate ${decision.gates[e].toFixed(2)}${moved}`;
  });
  const end = share ? `; together ${spokenNumber(sum(share))} voxels of this level.` : ".";
  return `${place}. ${layer.name}, ${trackName(layer, state.track)}: ${parts.join("; ")}${end}`;
}

/** What a map of routing shows. */
export const mapName = (layer, { show, expert }) =>
  ({ first: "First expert", gate: `Gate of ${layer.experts[expert]}`, entropy: "Entropy of the router" })[show];

/** Experts that got voxels, each with its share, for people who do not see the bar. */
export const loadInWords = (layer, load) =>
  layer.experts.map((expert, e) => `${expert} ${Math.round(load[e] * 100)} percent`).join(", ");

/** Scores that a result may carry: key -> [name, decimals]. */
export const METRICS = { dice: ["Dice", 3], endpoint_error: ["Error", 2], folds: ["Folds", 4] };

/** Keys of the scores that these metrics carry, in the order in which they are shown. */
export const shownMetrics = (metrics) => Object.keys(METRICS).filter((key) => key in metrics);

/** Long enough to read a sentence, in milliseconds: three words a second. */
export const readingTime = (sentence) => Math.max(2500, sentence.split(" ").length * 330);

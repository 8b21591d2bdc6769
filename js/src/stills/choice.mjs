// Which of the precomputed pictures is shown. Pictures are in the order of all combinations, last control fastest.

/** Place of a combination: `choices` has the place of each control's value. */
export const frameOf = (controls, choices) =>
  controls.reduce((place, { values }, k) => place * values.length + choices[k], 0);

/** The combination at a place. */
export function choicesOf(controls, frame) {
  const choices = [];
  for (const { values } of [...controls].reverse()) {
    choices.unshift(frame % values.length);
    frame = Math.floor(frame / values.length);
  }
  return choices;
}

/** "smoothing 2, step 1": what is shown, in words. */
export const inWords = (controls, choices) =>
  controls.map(({ label, values }, k) => `${label} ${values[choices[k]]}`).join(", ");

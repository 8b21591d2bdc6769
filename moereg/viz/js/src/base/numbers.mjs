// Numbers as the views write them, and the two comparisons that everything uses.

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Equal as JSON: what travels to Python and back is equal, not identical. */
export const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);

export const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** "+0.42", "−1.30": a real minus, a fixed width (a zero has no sign, but a sign's room). */
export const signed = (value, digits = 2) => {
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? "\u2007" : value < 0 ? "\u2212" : "+") + text;
};

/** The same for a sentence: no placeholder where zero has no sign. */
export const spokenNumber = (value) => signed(value).trim();

export const plain = (value, digits = 2) => (value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);

export const percent = (value) => `${Math.round(value * 100)}\u2009%`;

/** Rank 0 is the "1st". */
export const ordinal = (rank) => ["1st", "2nd", "3rd"][rank] ?? `${rank + 1}th`;

/** Place of the value that is closest. */
export const closest = (values, value) =>
  values.reduce((best, v, i) => (Math.abs(v - value) < Math.abs(values[best] - value) ? i : best), 0);

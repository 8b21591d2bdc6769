// Images as the network reads them: square, grey, values in [0, 1], row by row in a Float64Array.

import { bumps, sample } from "../dragfield/field.mjs";

/** Red, green, blue, alpha bytes -> grey in [0, 1], transparent places black (weights of Rec. 709). */
export function greyOf(bytes) {
  const grey = new Float64Array(bytes.length / 4);
  for (let i = 0; i < grey.length; i++) {
    const [red, green, blue, alpha] = bytes.subarray(4 * i, 4 * i + 4);
    grey[i] = ((0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255) * (alpha / 255);
  }
  return grey;
}

/** Darkest to black, brightest to white: the network knows images that use all of [0, 1]. */
export function stretched(values) {
  const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  return high > low ? values.map((v) => (v - low) / (high - low)) : values.map(() => 0);
}

/** A square image of another size, by linear interpolation; corner voxels stay corner voxels. */
export function resized(values, from, to) {
  if (from === to) return values;
  const out = new Float64Array(to * to);
  const step = (from - 1) / (to - 1);
  for (let i = 0, row = 0; row < to; row++)
    for (let column = 0; column < to; column++, i++) {
      const [y, x] = [row * step, column * step];
      const top = Math.min(Math.floor(y), from - 2);
      const left = Math.min(Math.floor(x), from - 2);
      const [b, a, at] = [y - top, x - left, top * from + left];
      out[i] =
        (1 - b) * ((1 - a) * values[at] + a * values[at + 1]) +
        b * ((1 - a) * values[at + from] + a * values[at + from + 1]);
    }
  return out;
}

/** Width of a bump, and how far a handle goes before the bend would fold (1.65 widths), as shares of the image. */
export const WIDTH = 0.12;
export const FARTHEST = 1.2 * WIDTH;

/** A move no longer than `FARTHEST`, its direction kept. */
export function within([down, right]) {
  const length = Math.hypot(down, right);
  const share = length > FARTHEST ? FARTHEST / length : 1;
  return [down * share, right * share];
}

/**
 * The image with the tissue under every handle carried along: what lies at centre c comes to c + m.
 *
 * It is pulled by the field -m exp(-|x - c - m|^2 / (2 sigma^2)). Centres and moves are shares of the image.
 */
export function bent(values, size, centres, moves) {
  if (moves.every(([down, right]) => !down && !right)) return values;
  const voxels = (pair) => pair.map((part) => part * size);
  const places = centres.map((c, k) => voxels([c[0] + moves[k][0], c[1] + moves[k][1]]));
  const back = moves.map((move) => voxels(move).map((part) => -part));
  return sample(values, [size, size], bumps([size, size], places, back, WIDTH * size));
}

/** How large a picture is drawn on a square of `size`, whole and in the middle: [left, top, width, height]. */
export function fitted(width, height, size) {
  const scale = size / Math.max(width, height);
  return [(size - width * scale) / 2, (size - height * scale) / 2, width * scale, height * scale];
}

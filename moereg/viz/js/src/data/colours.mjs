// Colours as [red, green, blue] from 0 to 255.

import { clamp, sum } from "../base/numbers.mjs";

/** "#2a6fd1" -> [42, 111, 209] */
export const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

export const mix = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);

/** Relative luminance of an sRGB colour (WCAG 2): 0 black, 1 white. */
export const luminance = (colour) =>
  sum(
    colour
      .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
      .map((v, i) => v * [0.2126, 0.7152, 0.0722][i]),
  );

/** Is dark text, or a dark edge, the one that stands out from it? */
export const isLight = (hex) => luminance(rgb(hex)) > 0.22;

export const cssColour = (colour) => `rgb(${colour.map(Math.round).join(" ")})`;

/** Gate maps run from a ground that the expert's colour stands out from. */
export const groundFor = (hex) => (isLight(hex) ? [16, 18, 22] : [244, 241, 234]);

export const ENTROPY = ["#16161d", "#5b4a78", "#c98b7d", "#f6ecd4"].map(rgb);
export const DIFFERENCE = ["#2a6fd1", "#101216", "#e8853a"].map(rgb);

/** A colour between evenly spaced stops, t from 0 to 1. */
export function ramp(stops, t) {
  const place = clamp(t, 0, 1) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return mix(stops[low], stops[low + 1], place - low);
}

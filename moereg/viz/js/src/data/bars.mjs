// Numbers as lengths: bars, shares laid end to end, shares over time.

import { clamp } from "../base/numbers.mjs";

/** Place of a value between the ends of a scale, in percent. */
export const placeOn = (value, low, high) => ((clamp(value, low, high) - low) / (high - low)) * 100;

/** Left end and width, in percent, of a bar that reaches from zero to `value`. */
export function span(value, low, high) {
  const [a, b] = [placeOn(Math.min(0, value), low, high), placeOn(Math.max(0, value), low, high)];
  return { left: `${a}%`, width: `${b - a}%` };
}

/**
 * Shares laid end to end, `[{e, start, value}]`, shares of zero left out.
 *
 * Negative ones go to the left of zero, positive ones to the right, each from where the last one ended.
 */
export function endToEnd(row) {
  let [left, right] = [0, 0];
  const list = [];
  row.forEach((value, e) => {
    if (!value) return;
    const start = value < 0 ? (left += value) : right;
    if (value > 0) right += value;
    list.push({ e, start, value });
  });
  return list;
}

/** Shares over time, `loads[step][expert]`, as areas on top of each other in a box: one path per expert. */
export function areas(loads, experts, [width, height]) {
  const point = (v, i) => `${((i / (loads.length - 1)) * width).toFixed(1)} ${(height - v * height).toFixed(1)}`;
  let floor = loads.map(() => 0);
  return Array.from({ length: experts }, (_, e) => {
    const top = loads.map((load, i) => floor[i] + (load[e] ?? 0));
    const [up, down] = [top.map(point), floor.map(point).reverse()];
    floor = top;
    return `M${[...up, ...down].join("L")}Z`;
  });
}

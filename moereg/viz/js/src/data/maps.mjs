// Maps: `{shape, values}`, last axis fastest, as moereg/viz/payload.py packed them.

import { clamp } from "../base/numbers.mjs";

/** Undo gzip (and base64, on a page) of `payload.data`; the result has a `read(entry)` that gives `{shape, values}`. */
export async function openPayload(payload) {
  const packed = typeof payload.data === "string" ? fromBase64(payload.data) : payload.data;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const cache = new Map();
  const read = (entry) => {
    if (!cache.has(entry.offset)) cache.set(entry.offset, decode(bytes, entry));
    return cache.get(entry.offset);
  };
  return { ...payload, read };
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** Bytes that came beside the JSON arrive as a DataView. */
export function binary(payload) {
  const { data } = payload;
  return data instanceof DataView
    ? { ...payload, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) }
    : payload;
}

/** One map: low bytes, then high bytes, of differences along the last `axes` axes; value = zero + code * precision. */
export function decode(bytes, { offset, shape, bits, axes, zero, precision }) {
  const size = shape.reduce((a, b) => a * b, 1);
  const codes = bits === 8 ? bytes.slice(offset, offset + size) : new Uint16Array(size);
  if (bits === 16) for (let i = 0; i < size; i++) codes[i] = bytes[offset + i] + (bytes[offset + size + i] << 8);
  // Sums wrap around as the differences did: both live in 8 or 16 bits.
  for (let axis = 1, stride = 1; axis <= axes; axis++) {
    const length = shape[shape.length - axis];
    for (let i = 0; i < size; i++) if (Math.floor(i / stride) % length) codes[i] += codes[i - stride];
    stride *= length;
  }
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = zero + codes[i] * precision;
  return { shape, values };
}

/** Value of a map at whole coordinates. */
export function at(map, ...index) {
  let flat = 0;
  for (let i = 0; i < index.length; i++) flat = flat * map.shape[i] + index[i];
  return map.values[flat];
}

/** Linear interpolation at `position` (one number per axis), border values outside. `leading` picks a channel. */
export function interpolate(map, position, leading = []) {
  const shape = map.shape.slice(leading.length);
  let base = 0;
  for (let i = 0; i < leading.length; i++) base = base * map.shape[i] + leading[i];
  let corners = [[base, 1]];
  for (let axis = 0; axis < shape.length; axis++) {
    const place = clamp(position[axis], 0, shape[axis] - 1);
    const low = Math.floor(place);
    const part = place - low;
    const next = [];
    for (const [flat, weight] of corners) {
      next.push([flat * shape[axis] + low, weight * (1 - part)]);
      if (part > 0) next.push([flat * shape[axis] + low + 1, weight * part]); // on the last voxel there is no next one
    }
    corners = next;
  }
  let total = 0;
  for (const [flat, weight] of corners) total += map.values[flat] * weight;
  return total;
}

/** Value of the closest voxel, border values outside. */
export function nearest(map, position) {
  return at(map, ...map.shape.map((size, axis) => clamp(Math.round(position[axis]), 0, size - 1)));
}

/** All whole coordinates of a box, last axis fastest. */
export function boxes(low, high) {
  return low.reduce(
    (list, first, axis) =>
      list.flatMap((head) => Array.from({ length: high[axis] - first }, (_, i) => [...head, first + i])),
    [[]],
  );
}

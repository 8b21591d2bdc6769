// What a field says at a voxel. A displacement u pulls, warped[x] = moving[x + u(x)], in voxels; axes are z, y, x.
//
// Fields have names: "result", "none", "knockout:3", "step:0", "snapshot:2". All but the first two are the result plus
// a coarse map of what differs.

import { at, interpolate, nearest } from "./maps.mjs";

/** The displacement at a voxel, in voxels, of one of the fields. */
export function displacementAt(data, field, voxel) {
  if (field === "none") return voxel.map(() => 0);
  const whole = data.read(data.displacement);
  const change = fieldChange(data, field);
  return voxel.map((_, axis) => {
    const base = at(whole, axis, ...voxel);
    if (!change) return base;
    const place = voxel.map((v) => v / change.every); // one stored voxel stands for `every` of the image
    return base + interpolate(data.read(change.values), place, [axis]);
  });
}

/** What a field other than the result adds to it: a coarse map, or null. */
export function fieldChange(data, field) {
  const [kind, number] = field.split(":");
  if (kind === "knockout") return data.knockouts[number].field;
  if (kind === "snapshot") return data.snapshots[number].field;
  if (kind === "step") return data.steps[number];
  return null;
}

export const snapshotOf = (data, field) => (field.startsWith("snapshot:") ? data.snapshots[field.slice(9)] : null);

/** Where the voxel's value is fetched: x + u(x). */
const pulledFrom = (data, field, voxel) => {
  const u = displacementAt(data, field, voxel);
  return voxel.map((v, axis) => v + u[axis]);
};

/** `moving[x + u(x)]` */
export const warpedAt = (data, field, voxel) =>
  interpolate(data.read(data.images.moving), pulledFrom(data, field, voxel));

/** Label of the fixed image, of the moving one, or of the warped one, at a voxel. */
export function labelAt(data, which, field, voxel) {
  if (!data.labels) return 0;
  if (which === "fixed") return at(data.read(data.labels.fixed), ...voxel);
  if (which === "moving") return at(data.read(data.labels.moving), ...voxel);
  return nearest(data.read(data.labels.moving), pulledFrom(data, field, voxel));
}

export const labelName = (data, value) => (value ? (data.label_names[String(value)] ?? `label ${value}`) : "");

/** What the field shown is, in words. */
export function fieldName(data, field) {
  const [kind, number] = field.split(":");
  if (kind === "none") return "no displacement";
  if (kind === "knockout") {
    const { layer, expert } = data.knockouts[number];
    return `without ${data.layers.find(({ name }) => name === layer).experts[expert]} in ${layer}`;
  }
  if (kind === "snapshot") return `training step ${data.snapshots[number].step}`;
  if (kind === "step") return `field after step ${Number(number) + 1}`;
  return "result";
}

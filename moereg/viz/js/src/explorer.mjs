// Entry of moereg/viz/explorer.mjs, the explorer of a registered pair: put a finger on a voxel and see which experts
// moved it, and why. For JupyterLab (anywidget calls the default export), a page of the book and a report (`mountAll`).

import { render } from "./homes.mjs";

export { signed } from "./base/numbers.mjs";
export { displacementAt, warpedAt } from "./data/fields.mjs";
export { decode, interpolate, openPayload } from "./data/maps.mjs";
export { attentionAt, contributionsAt, decisionAt, layerVoxel } from "./data/routing.mjs";
export { mount, mountAll, render } from "./homes.mjs";
export { createSteps } from "./steps.mjs";
export { createExplorer } from "./view.mjs";
export default { render };

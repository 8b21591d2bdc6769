// Entry of moereg/viz/dragfield.mjs, a displacement field that one drags, for notebooks and for saved pages.

import { render } from "./dragfield/home.mjs";

export { bumps, determinants, exponentiate, sample } from "./dragfield/field.mjs";
export { render } from "./dragfield/home.mjs";
export { createDragField } from "./dragfield/view.mjs";
export default { render };

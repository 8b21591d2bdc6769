// Entry of moereg/viz/live.mjs: a network that runs in the reader's browser. Pages call `mountAll`.

import { mountLive } from "./live/home.mjs";

export { mountAll, mountLive } from "./live/home.mjs";
export default { mountLive };

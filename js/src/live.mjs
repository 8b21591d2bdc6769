// Entry of moereg/viz/live.mjs: a network that runs in the reader's browser. Pages call `mountAll`, its worker calls `serve`.

import { mountLive } from "./live/home.mjs";

export { mountAll, mountLive } from "./live/home.mjs";
export { serve } from "./live/network.mjs";
export default { mountLive };

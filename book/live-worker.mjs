// The worker of the live view: the network computes here, so that the page goes on following the finger.

import { serve } from "./live.mjs";

serve(self, new URL("./", import.meta.url).href, (address) => import(address));

// `npm test`, and tests/viz/test_bundle.py: every test in one process, which is faster than a process for each file.

import { readdirSync } from "node:fs";

const here = new URL(".", import.meta.url);
for (const name of readdirSync(here).filter((name) => name.endsWith(".test.mjs"))) await import(new URL(name, here));

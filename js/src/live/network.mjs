// The network in the page: onnxruntime-web, one thread, from the site's own files. Loaded when somebody asks for it.

import { resultOf } from "./result.mjs";

/** Whether this browser runs WebAssembly. */
export const hasWebAssembly = () => typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";

/**
 * `{run(moving, fixed, size) -> {result, arrays, milliseconds}}`. `folder` holds runtime, graphs and weights; `load`
 * imports a module from its address, which a bundle cannot do.
 *
 * Rejects where the browser or the site lacks a part; the view then stays with what is recorded.
 */
export async function openNetwork(folder, load, { sizes, layers, experts }) {
  if (!hasWebAssembly()) throw new Error("This browser has no WebAssembly.");
  const at = (name) => new URL(name, folder).href;
  const ort = await load(at("ort.wasm.min.mjs"));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: folder.href });
  const weights = fetched(at("weights.bin"));
  const sessions = new Map();
  const open = async (size) => {
    const [graph, data] = await Promise.all([fetched(at(`graph-${size}.onnx`)), weights]);
    return ort.InferenceSession.create(graph, {
      executionProviders: ["wasm"],
      externalData: [{ path: "weights.bin", data }],
    });
  };
  const session = (size) => {
    if (!sizes.includes(size)) throw new Error(`size must be one of ${sizes}, got ${size}.`);
    if (!sessions.has(size)) sessions.set(size, open(size));
    return sessions.get(size);
  };
  return {
    session,
    async run(moving, fixed, size) {
      const shape = [1, 1, size, size];
      const tensor = (values) => new ort.Tensor("float32", Float32Array.from(values), shape);
      const opened = await session(size);
      const began = performance.now();
      const found = await opened.run({ moving: tensor(moving), fixed: tensor(fixed) });
      const milliseconds = performance.now() - began;
      const arrays = Object.fromEntries(Object.entries(found).map(([name, { data }]) => [name, data]));
      return { result: resultOf(size, arrays, layers, experts), arrays, milliseconds };
    },
  };
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} is not there (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

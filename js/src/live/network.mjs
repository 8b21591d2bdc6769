// The network in the page: onnxruntime-web, one thread, from the site's own files. Loaded when somebody asks for it.
//
// It runs in a worker, so that handles follow the finger while it computes; where a browser has no workers, in the page.

import { resultOf } from "./result.mjs";

/** Whether this browser runs WebAssembly. */
export const hasWebAssembly = () => typeof WebAssembly === "object" && typeof WebAssembly.instantiate === "function";

/**
 * `{run(moving, fixed, size) -> {result, arrays, milliseconds}, where, close()}`. `folder` holds worker, runtime, graphs
 * and weights; `load` imports a module from its address, which a bundle cannot do.
 *
 * Rejects where the browser or the site lacks a part; the view then stays with what is recorded.
 */
export async function openNetwork(folder, load, { sizes, layers, experts }) {
  if (!hasWebAssembly()) throw new Error("This browser has no WebAssembly.");
  const runner = (await openWorker(folder)) ?? (await openRunner(folder.href, load));
  return {
    ...runner,
    async run(moving, fixed, size) {
      if (!sizes.includes(size)) throw new Error(`size must be one of ${sizes}, got ${size}.`);
      const { arrays, milliseconds } = await runner.run(Float32Array.from(moving), Float32Array.from(fixed), size);
      return { result: resultOf(size, arrays, layers, experts), arrays, milliseconds };
    },
  };
}

/** Runs graphs where it is called: `run(moving, fixed, size) -> {arrays, milliseconds}` with flat arrays by name. */
export async function openRunner(folder, load) {
  const at = (name) => new URL(name, folder).href;
  const ort = await load(at("ort.wasm.min.mjs"));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: folder });
  const weights = fetched(at("weights.bin"));
  const sessions = new Map();
  const open = async (size) => {
    const [graph, data] = await Promise.all([fetched(at(`graph-${size}.onnx`)), weights]);
    return ort.InferenceSession.create(graph, {
      executionProviders: ["wasm"],
      externalData: [{ path: "weights.bin", data }],
    });
  };
  return {
    where: "page",
    async run(moving, fixed, size) {
      if (!sessions.has(size)) sessions.set(size, open(size));
      const opened = await sessions.get(size);
      const tensor = (values) => new ort.Tensor("float32", values, [1, 1, size, size]);
      const began = performance.now();
      const found = await opened.run({ moving: tensor(moving), fixed: tensor(fixed) });
      const milliseconds = performance.now() - began;
      const arrays = Object.fromEntries(Object.entries(found).map(([name, { data }]) => [name, data]));
      return { arrays, milliseconds };
    },
    close() {},
  };
}

/** The same in a worker, or null where there are none. Waits until the worker has its runtime. */
async function openWorker(folder) {
  if (typeof Worker !== "function") return null;
  const worker = new Worker(new URL("worker.mjs", folder), { type: "module" });
  const runner = overMessages(worker);
  try {
    await runner.ready;
    return runner;
  } catch {
    worker.terminate();
    return null;
  }
}

/** The page's end: questions by number, answers by the same number. */
export function overMessages(worker) {
  const waiting = new Map();
  const asked = (id) => new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  const ready = asked(0);
  let last = 0;
  worker.onmessage = ({ data: { id, error, ...answer } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    event.preventDefault?.();
    for (const { reject } of waiting.values()) reject(new Error(event.message ?? "the worker stopped."));
    waiting.clear();
  };
  return {
    where: "worker",
    ready,
    run(moving, fixed, size) {
      last += 1;
      const answer = asked(last);
      worker.postMessage({ id: last, moving, fixed, size });
      return answer;
    },
    close: () => worker.terminate(),
  };
}

/** The worker's end: `scope` is its `self`. Says when its runtime is there, then answers one question after the other. */
export async function serve(scope, folder, load) {
  const answering = async (id, answer) => {
    try {
      const { arrays, milliseconds } = await answer();
      scope.postMessage({ id, arrays, milliseconds }, [...new Set(Object.values(arrays ?? {}).map(({ buffer }) => buffer))]);
    } catch (error) {
      scope.postMessage({ id, error: error.message });
    }
  };
  let runner = null;
  scope.onmessage = ({ data: { id, moving, fixed, size } }) =>
    answering(id, async () => {
      const { arrays, milliseconds } = await runner.run(moving, fixed, size);
      // Copies: some of the runtime's arrays lie in its own memory, which cannot be given away.
      return { arrays: Object.fromEntries(Object.entries(arrays).map(([name, data]) => [name, data.slice()])), milliseconds };
    });
  await answering(0, async () => {
    runner = await openRunner(folder, load);
    return {};
  });
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} is not there (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

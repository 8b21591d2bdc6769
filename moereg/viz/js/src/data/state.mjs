// What is being looked at, as the explorer's state and as the widget's traits.

/** State of a first look: the voxel and plane the payload proposes, the finest decoder layer. */
export function initialState(data) {
  return {
    voxel: data.start ?? data.shape.map((size) => size >> 1),
    hover: null,
    plane: data.plane ?? 0,
    layer: 0,
    track: 0,
    expert: 0,
    image: "warped",
    show: "first",
    field: "result",
    grid: false,
    arrows: false,
    labels: Boolean(data.labels),
    kernels: true,
    live: false, // is there a Python that runs the network again?
    busy: false,
    k: {},
    without: {},
    temperature: 1,
  };
}

/** The voxel that is spoken about: under the pointer, else the pinned one. */
export const focus = (state) => state.hover ?? state.voxel;

// Traits that are called the same, and mean the same, on both sides.
const ALIKE = ["voxel", "image", "show", "field", "k", "without", "temperature"];

/** Names and numbers as Python has them. */
export function toTraits(data, state) {
  const layer = data.layers[state.layer];
  return {
    ...Object.fromEntries(ALIKE.map((name) => [name, state[name]])),
    plane: data.axes.length === 3 ? data.axes[state.plane] : "",
    layer: layer?.name ?? "",
    direction: layer?.tracks[state.track] ?? "",
    expert: layer?.experts[state.expert] ?? "",
  };
}

/** The part of the state that traits say; a name that the data does not have is the first one. */
export function fromTraits(data, get) {
  const place = (list, name) => Math.max(0, list.indexOf(name));
  const layer = place(
    data.layers.map(({ name }) => name),
    get("layer"),
  );
  const { tracks, experts } = data.layers[layer] ?? { tracks: [], experts: [] };
  return {
    ...Object.fromEntries(ALIKE.map((name) => [name, get(name)])),
    plane: place(data.axes, get("plane")),
    layer,
    track: place(tracks, get("direction")),
    expert: place(experts, get("expert")),
  };
}

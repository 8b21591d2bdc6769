// Brings the views of a page to life: a saved state, the module that draws it, and no kernel.

/** What a module asks of a widget's model, over a saved state. Nobody else listens: what is sent goes nowhere. */
export function savedModel(state) {
  const heard = new Map();
  return {
    get: (name) => state[name],
    set(name, value) {
      state[name] = value;
      for (const listener of heard.get(`change:${name}`) ?? []) listener();
    },
    on: (name, listener) => heard.set(name, [...(heard.get(name) ?? []), listener]),
    off: (name, listener) => heard.set(name, (heard.get(name) ?? []).filter((other) => other !== listener)),
    save_changes() {},
    send() {},
  };
}

function addStyle(kind) {
  const href = new URL(`./${kind}.css`, import.meta.url).href;
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return null;
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
  const loaded = new Promise((resolve) => {
    link.onload = resolve;
    link.onerror = resolve;
  });
  document.head.append(link);
  return loaded;
}

/** Every view of a page that is not alive yet. A view that cannot be drawn leaves its place empty and a line in the console. */
export function mountViews(page) {
  return Promise.all(
    [...page.querySelectorAll(".moereg-view:not([data-alive])")].map(async (place) => {
      place.dataset.alive = "true";
      const { view: kind } = place.dataset;
      const state = JSON.parse(place.querySelector("script[type='application/json']").textContent);
      const [module] = await Promise.all([import(`./${kind}.mjs`), addStyle(kind)]);
      await module.render({ model: savedModel(state), el: place.querySelector("[data-mount]") });
    }),
  );
}

// Two images of the reader's. They are read by this page and go nowhere: nothing here sends anything.

import { html, useRef, useState } from "../base/view.mjs";
import { fitted, greyOf, stretched } from "./images.mjs";

const ROLES = ["moving", "fixed"];

/** A file -> grey values on a square of `size`, or an error of one sentence. */
export async function readImage(file, size) {
  if (!/^image\/(png|jpeg)$/.test(file.type)) throw new Error(`${file.name} is no PNG and no JPEG.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(`${file.name} could not be read as an image.`);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, ...fitted(bitmap.width, bitmap.height, size));
  bitmap.close();
  return stretched(greyOf(pen.getImageData(0, 0, size, size).data));
}

/** Two places to drop a file on, or to choose one. */
export function OwnImages({ given, model: { store, still }, state }) {
  const [problem, setProblem] = useState("");
  const take = async (role, file) => {
    if (!file) return;
    try {
      const image = await readImage(file, given.size);
      const own = { ...store.state.own, [role]: image }; // the other one may have come in the meantime
      setProblem("");
      const both = own.moving && own.fixed;
      store.set(both ? { own, pair: "own", moves: still, place: null } : { own });
    } catch (error) {
      setProblem(error.message);
    }
  };
  return html`
    <details class="mlv-own">
      <summary>Drop your images</summary>
      <p>
        Two images that show the same thing, PNG or JPEG. They are read in this page and never leave it. The network has
        seen phantoms of abdomens only: what it does with other images shows how far that carries.
      </p>
      <div class="mlv-drops">
        ${ROLES.map(
          (role) => html`<${Drop} role=${role} there=${Boolean(state.own[role])} take=${(file) => take(role, file)} />`,
        )}
      </div>
      <p role="status" class="mlv-problem">${problem}</p>
    </details>
  `;
}

function Drop({ role, there, take }) {
  const label = useRef();
  const over = (event) => event.preventDefault();
  const drop = (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  };
  return html`
    <label class="mlv-drop" ref=${label} ondragover=${over} ondrop=${drop}>
      ${`${there ? "Taken: " : ""}${role} image `}
      <input
        type="file"
        accept="image/png,image/jpeg"
        onchange=${(event) => take(event.currentTarget.files[0])}
      />
    </label>
  `;
}

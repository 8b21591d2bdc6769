// `node build.mjs explorer` writes the bundle of src/explorer.mjs to standard output. make bundle calls it.

import { build } from "esbuild";

const entry = `src/${process.argv[2]}.mjs`;
const OPTIONS = {
  entryPoints: [entry],
  bundle: true,
  write: false,
  minify: true,
  lineLimit: 120,
  target: "es2022",
  // No markup from text, not even by mistake: the view library's one way to write markup writes text instead.
  mangleProps: /^innerHTML$/,
  mangleCache: { innerHTML: "textContent" },
};

// A report writes the module into its page and calls `mountAll` there. So the public names, and no others, stand at the
// top level: everything else is inside one function.
const { metafile } = await build({ ...OPTIONS, format: "esm", metafile: true, outfile: "module.mjs" });
const names = metafile.outputs["module.mjs"].exports.filter((name) => name !== "default");
const { outputFiles } = await build({ ...OPTIONS, format: "iife", globalName: "moeregView" });
const footer = `export const { ${names.join(", ")} } = moeregView;\nexport default moeregView.default;\n`;
process.stdout.write(outputFiles[0].text + footer);

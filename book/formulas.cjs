// node formulas.cjs MATHJAX IN OUT: every formula of IN, [{tex, display}], as SVG, with the style sheet, into OUT.

const [, , mathjax, given, wanted] = process.argv;
const { readFileSync, writeFileSync } = require("node:fs");

require(`${mathjax}/es5/node-main.js`)
  .init({ loader: { load: ["input/tex-full", "output/svg"] }, svg: { fontCache: "local" } })
  .then((MathJax) => {
    const { adaptor } = MathJax.startup;
    const drawn = JSON.parse(readFileSync(given, "utf8")).map(({ tex, display }) =>
      adaptor.outerHTML(MathJax.tex2svg(tex, { display })),
    );
    const style = adaptor.textContent(MathJax.svgStylesheet());
    writeFileSync(wanted, JSON.stringify({ drawn, style }));
  })
  .catch((error) => {
    console.error(error.message);
    process.exit(1);
  });

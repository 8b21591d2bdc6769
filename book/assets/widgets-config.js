// Modules and fonts of widgets come from this folder; without this line the browser would look beside the page and then
// ask a CDN.
window.require.config({ baseUrl: new URL(".", document.currentScript.src).href });
// Labels of widgets are set by the interface of MathJax 2; the site has MathJax 3.
if (window.MathJax) {
  window.MathJax.startup = {
    ready() {
      MathJax.startup.defaultReady();
      MathJax.Hub = { Queue: ([, , element]) => MathJax.typesetPromise([element]) };
    },
  };
}

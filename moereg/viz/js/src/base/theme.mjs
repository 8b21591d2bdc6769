// Light or dark, as the page is.

/** What a book's theme says, else what JupyterLab says, else what the system prefers. */
export function themeOf(page, lab, systemIsDark) {
  if (page === "dark" || page === "light") return page;
  return (lab ? lab === "false" : systemIsDark) ? "dark" : "light";
}

const system = () => matchMedia("(prefers-color-scheme: dark)");

/** "light" or "dark". */
export const currentTheme = () =>
  themeOf(document.documentElement.dataset.theme, document.body.dataset.jpThemeLight, system().matches);

/** Tell `listener` the theme whenever it may have changed; returns what ends that. */
export function followTheme(listener) {
  const [preference, tell] = [system(), () => listener(currentTheme())];
  preference.addEventListener("change", tell);
  const observer = new MutationObserver(tell);
  for (const element of [document.documentElement, document.body])
    observer.observe(element, { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light"] });
  return () => {
    preference.removeEventListener("change", tell);
    observer.disconnect();
  };
}

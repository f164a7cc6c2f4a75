// Runs before the first paint, so that a chosen theme does not flash; main.js reads what it leaves.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("lapel-theme");
  } catch {
    /* storage is off: follow the system */
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
})();

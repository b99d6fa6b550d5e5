// Sets the theme before the first paint. It is a file of its own because the page's policy allows no inline script.
(function () {
  var choice = null;
  try {
    choice = localStorage.getItem("parley.theme");
  } catch {
    // Storage can be refused; the system's theme is then used.
  }
  var dark = choice === "dark" || (choice !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();

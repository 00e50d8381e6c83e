// Runs before anything is painted, so that a dark page never flashes white. app.js changes the theme.
try {
  const theme = localStorage.getItem("rein.theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Without storage, the system's theme it is.
}

// Draws every picture in the colours that the page has now, and again when the page turns dark or light.
const dark = matchMedia("(prefers-color-scheme: dark)");
function drawPictures() {
  const page = getComputedStyle(document.documentElement);
  for (const place of document.querySelectorAll(".panel")) {
    let text = place.querySelector("script").textContent;
    for (const [colour, name] of Object.entries(variables))
      text = text.replaceAll(colour, page.getPropertyValue("--" + name).trim());
    vegaEmbed(place.querySelector("div"), JSON.parse(text),
      {actions: false, renderer: "svg", tooltip: {theme: dark.matches ? "dark" : "light"}});
  }
}
drawPictures();
dark.addEventListener("change", drawPictures);
for (const folded of document.querySelectorAll("details"))
  folded.addEventListener("toggle", () => dispatchEvent(new Event("resize")));

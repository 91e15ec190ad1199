// Every text whose contrast with the nearest opaque background is below 4.5 to 1 (WCAG 2.2, 1.4.3).
() => {
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  const behind = (element) => {
    const colour = parts(getComputedStyle(element).backgroundColor);
    return colour[3] === 0 && element.parentElement ? behind(element.parentElement) : colour;
  };
  const speaks = (element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) &&
    element.checkVisibility() && !element.closest("svg");
  const contrast = (element) => {
    const colours = [parts(getComputedStyle(element).color), behind(element)];
    const [low, high] = colours.map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  return [...document.body.querySelectorAll("*")].filter(speaks)
    .map((element) => [contrast(element), element.textContent.slice(0, 40)])
    .filter(([ratio]) => ratio < 4.5);
}

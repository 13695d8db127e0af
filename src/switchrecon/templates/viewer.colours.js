// Colours: 256 steps between the stops of each map, from the window's lower end to its upper one.

const STOPS = {
  grey: [[0, 0, 0], [255, 255, 255]],
  error: [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]],
  signed: [[5, 80, 200], [100, 160, 235], [245, 245, 245], [235, 120, 90], [180, 10, 40]],
  phase: [[40, 40, 90], [70, 120, 200], [225, 225, 235], [210, 120, 70], [90, 30, 50], [40, 40, 90]],
};
const NOT_A_NUMBER = [255, 0, 255];
const MEASURED = [0.45, 0.9, 1.0], FILLED_IN = [1.0, 0.62, 0.2];

const TABLES = Object.fromEntries(
  Object.entries(STOPS).map(([name, stops]) => {
    const table = new Uint8ClampedArray(256 * 3);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (stops.length - 1), k = Math.min(Math.floor(place), stops.length - 2);
      for (let c = 0; c < 3; c++) table[3 * i + c] = stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]);
    }
    return [name, table];
  }),
);

// Paints values into a canvas of one pixel a value; mask tints measured samples and those that are not.
function paint(values, height, width, window, colours, mask) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), data = image.data;
  const table = TABLES[colours], [low, high] = window, step = 255 / (high - low);
  for (let i = 0; i < values.length; i++) {
    const value = values[i], place = 4 * i;
    data[place + 3] = 255;
    if (!Number.isFinite(value)) {
      data.set(NOT_A_NUMBER, place);
      continue;
    }
    const code = 3 * Math.max(0, Math.min(255, Math.round((value - low) * step)));
    const tint = mask ? (mask[i] ? MEASURED : FILLED_IN) : null;
    for (let c = 0; c < 3; c++) data[place + c] = tint ? tint[c] * table[code + c] : table[code + c];
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Drawing a panel: the image in its proportions, the sides' letters, the cursor, and the bar with its numbers.

const BAR = 28, MARK = "Research software, not a medical device. Do not use for diagnosis.";
const FONT = "system-ui, sans-serif";

// Where the image lies in a panel. Zoom 1 fits it; (x, y) is the part of the image at the panel's middle.
function placed(width, height, stack, view) {
  const [rows, columns] = stack.matrix, [tall, wide] = stack.spacing;
  const fit = Math.min(width / (columns * wide), height / (rows * tall)) * view.zoom;
  const w = columns * wide * fit, h = rows * tall * fit;
  return { left: width / 2 - view.x * w, top: height / 2 - view.y * h, width: w, height: h };
}

function outlined(context, text, x, y, align) {
  context.textAlign = align;
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

// Draws at (0, 0) of the context, in CSS pixels. `second` is what lies right of the wipe's line.
function drawPanel(context, width, height, stack, view, panel, second) {
  const tall = height - BAR, box = placed(width, tall, stack, view);
  context.save();
  context.fillStyle = "#000";
  context.fillRect(0, 0, width, height);
  context.beginPath();
  context.rect(0, 0, width, tall);
  context.clip();
  context.imageSmoothingEnabled = false;
  context.drawImage(panel.bitmap, box.left, box.top, box.width, box.height);
  if (second) {
    const line = Math.round(view.wipe * width);
    context.save();
    context.beginPath();
    context.rect(line, 0, width - line, tall);
    context.clip();
    context.fillRect(line, 0, width - line, tall);
    context.drawImage(second.bitmap, box.left, box.top, box.width, box.height);
    context.restore();
    context.fillStyle = "#ffd24d";
    context.fillRect(line - 1, 0, 2, tall);
    context.font = `600 12px ${FONT}`;
    outlined(context, panel.name, Math.max(line - 6, 0), 32, "right");
    outlined(context, second.name, line + 6, 32, "left");
  }
  drawCursor(context, stack, view, box);
  context.fillStyle = "#ffd24d";
  context.font = `600 13px ${FONT}`;
  context.textBaseline = "middle";
  if (stack.letters && panel.isImage) {
    outlined(context, stack.letters.left, 4, tall / 2, "left");
    outlined(context, stack.letters.right, width - 4, tall / 2, "right");
    outlined(context, stack.letters.top, width / 2, 10, "center");
    outlined(context, stack.letters.bottom, width / 2, tall - 9, "center");
  }
  context.restore();
  drawBar(context, width, height, panel);
}

function drawCursor(context, stack, view, box) {
  if (view.row === null) return;
  const [rows, columns] = stack.matrix, w = box.width / columns, h = box.height / rows;
  const x = box.left + view.column * w, y = box.top + view.row * h;
  context.strokeStyle = "#ffd24d";
  context.lineWidth = 1;
  if (Math.min(w, h) >= 6) {
    context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    return;
  }
  const [cx, cy] = [Math.round(x + w / 2) + 0.5, Math.round(y + h / 2) + 0.5];
  context.beginPath();
  for (const [from, to] of [[-9, -4], [4, 9]]) {
    context.moveTo(cx + from, cy);
    context.lineTo(cx + to, cy);
    context.moveTo(cx, cy + from);
    context.lineTo(cx, cy + to);
  }
  context.stroke();
}

function drawBar(context, width, height, panel) {
  const [low, high] = panel.window, table = TABLES[panel.colours], left = 6, wide = width - 12, top = height - BAR + 4;
  for (let i = 0; i < wide; i++) {
    const code = 3 * Math.round((255 * i) / Math.max(wide - 1, 1));
    context.fillStyle = `rgb(${table[code]},${table[code + 1]},${table[code + 2]})`;
    context.fillRect(left + i, top, 1, 8);
  }
  context.strokeStyle = "#777";
  context.lineWidth = 1;
  context.strokeRect(left - 0.5, top - 0.5, wide + 1, 9);
  context.fillStyle = "#ddd";
  context.font = `11px ${FONT}`;
  context.textBaseline = "middle";
  const names = panel.ticks || [low, (low + high) / 2, high].map((value) => shortNumber(value, 3));
  names.forEach((name, k) => {
    context.textAlign = ["left", "center", "right"][k];
    context.fillText(name, left + (wide * k) / 2, height - 7);
  });
}

// The view as one picture, with names, the bars and the research mark.
function composed(panels, columns, width, height, stack, view, headline, second) {
  const gap = 8, title = 20, head = 44, ratio = Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  const rows = Math.ceil(panels.length / columns), canvas = document.createElement("canvas");
  const wide = Math.max(columns * (width + gap) + gap, 470), high = head + rows * (height + title + gap) + gap;
  canvas.width = wide * ratio;
  canvas.height = high * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.fillStyle = "#15191e";
  context.fillRect(0, 0, wide, high);
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillStyle = "#ffd699";
  context.font = `600 13px ${FONT}`;
  context.fillText(MARK, gap, 14, wide - 2 * gap);
  context.fillStyle = "#e3e7eb";
  context.font = `12px ${FONT}`;
  context.fillText(headline, gap, 33, wide - 2 * gap);
  panels.forEach((panel, k) => {
    context.save();
    context.translate(gap + (k % columns) * (width + gap), head + Math.floor(k / columns) * (height + title + gap));
    context.fillStyle = "#e3e7eb";
    context.font = `600 12px ${FONT}`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(panel.name, 0, title / 2, width);
    context.translate(0, title);
    drawPanel(context, width, height, stack, view, panel, second);
    context.restore();
  });
  return canvas;
}

// Planes as numbers, and k-space of images.

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function inflate(bytes) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the images: it has no DecompressionStream. A current one is needed.");
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// The layout is that of planes.py: scale and offset, then codes; the largest code stands for what is not finite.
function decode(buffer, bits, count) {
  const head = new DataView(buffer), scale = head.getFloat64(0, true), offset = head.getFloat64(8, true);
  const codes = new Uint8Array(buffer, 16), values = new Float32Array(count);
  const unknown = (1 << bits) - 1;
  for (let i = 0; i < count; i++) {
    if (bits === 1) {
      values[i] = (codes[i >> 3] >> (7 - (i & 7))) & 1;
      continue;
    }
    const code = bits === 16 ? codes[i] | (codes[count + i] << 8) : codes[i];
    values[i] = code === unknown ? NaN : offset + scale * code;
  }
  return values;
}

function smallestFactor(n) {
  for (let p = 2; p * p <= n; p++) if (n % p === 0) return p;
  return n;
}

// The discrete Fourier transform of any length, by its prime factors: X[k] = sum over j of x[j] exp(-2 pi i j k / n).
function fft(re, im) {
  const n = re.length;
  if (n === 1) return [re, im];
  const p = smallestFactor(n), m = n / p, outRe = new Float64Array(n), outIm = new Float64Array(n);
  for (let r = 0; r < p; r++) {
    const partRe = new Float64Array(m), partIm = new Float64Array(m);
    for (let j = 0; j < m; j++) {
      partRe[j] = re[j * p + r];
      partIm[j] = im[j * p + r];
    }
    const [a, b] = fft(partRe, partIm);
    for (let k = 0; k < n; k++) {
      const angle = (-2 * Math.PI * ((r * k) % n)) / n, c = Math.cos(angle), s = Math.sin(angle), q = k % m;
      outRe[k] += c * a[q] - s * b[q];
      outIm[k] += c * b[q] + s * a[q];
    }
  }
  return [outRe, outIm];
}

// Centred: index 0 of the transform is at n // 2, in the image and in k-space.
function centredFft(re, im) {
  const n = re.length, half = Math.floor(n / 2), a = new Float64Array(n), b = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    a[i] = re[(i + half) % n];
    b[i] = im[(i + half) % n];
  }
  const [c, d] = fft(a, b);
  for (let i = 0; i < n; i++) {
    a[(i + half) % n] = c[i];
    b[(i + half) % n] = d[i];
  }
  return [a, b];
}

// log10 of the magnitude over its largest, and the phase, of the k-space of a real image.
function kspaceOf(image, height, width) {
  const re = new Float64Array(height * width), im = new Float64Array(height * width);
  for (let row = 0; row < height; row++) {
    const line = Float64Array.from(image.subarray(row * width, (row + 1) * width), (v) => (Number.isFinite(v) ? v : 0));
    const [a, b] = centredFft(line, new Float64Array(width));
    re.set(a, row * width);
    im.set(b, row * width);
  }
  const lineRe = new Float64Array(height), lineIm = new Float64Array(height);
  for (let column = 0; column < width; column++) {
    for (let row = 0; row < height; row++) {
      lineRe[row] = re[row * width + column];
      lineIm[row] = im[row * width + column];
    }
    const [a, b] = centredFft(lineRe, lineIm);
    for (let row = 0; row < height; row++) {
      re[row * width + column] = a[row];
      im[row * width + column] = b[row];
    }
  }
  let most = 0;
  for (let i = 0; i < re.length; i++) most = Math.max(most, Math.hypot(re[i], im[i]));
  const kspace = new Float32Array(re.length), phase = new Float32Array(re.length);
  for (let i = 0; i < re.length; i++) {
    kspace[i] = Math.log10(Math.max(Math.hypot(re[i], im[i]) / (most || 1), 1e-6));
    phase[i] = Math.atan2(im[i], re[i]);
  }
  return { kspace, "kspace-phase": phase };
}

function shortNumber(value, digits = 4) {
  if (!Number.isFinite(value)) return "not a number";
  const text = Number(value.toPrecision(digits)).toString();
  return text.replace("-", "−");
}

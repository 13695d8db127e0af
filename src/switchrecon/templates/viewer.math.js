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

const ROOTS = new Map(); // of unity, by how many there are

function rootsOf(n) {
  if (!ROOTS.has(n)) {
    const angles = Float64Array.from({ length: n }, (_, j) => (-2 * Math.PI * j) / n);
    ROOTS.set(n, [smallestFactor(n), angles.map(Math.cos), angles.map(Math.sin)]);
  }
  return ROOTS.get(n);
}

// The discrete Fourier transform of any length along the first axis of (n, inner), by its prime factors:
// X[k] = sum over j of x[j] exp(-2 pi i j k / n).
function fft(re, im, n, inner) {
  if (n === 1) return [re, im];
  const [p, cosine, sine] = rootsOf(n), m = n / p;
  const outRe = new Float64Array(n * inner), outIm = new Float64Array(n * inner);
  for (let r = 0; r < p; r++) {
    const partRe = new Float64Array(m * inner), partIm = new Float64Array(m * inner);
    for (let j = 0; j < m; j++) {
      const from = (j * p + r) * inner;
      partRe.set(re.subarray(from, from + inner), j * inner);
      partIm.set(im.subarray(from, from + inner), j * inner);
    }
    const [a, b] = fft(partRe, partIm, m, inner);
    for (let k = 0; k < n; k++) {
      const j = (r * k) % n, c = cosine[j], s = sine[j], to = k * inner, from = (k % m) * inner;
      for (let i = 0; i < inner; i++) {
        outRe[to + i] += c * a[from + i] - s * b[from + i];
        outIm[to + i] += c * b[from + i] + s * a[from + i];
      }
    }
  }
  return [outRe, outIm];
}

// The same, centred: index n // 2 is 0, before and behind. The result is transposed, (inner, n).
function centredFft(re, im, n, inner) {
  const half = Math.floor(n / 2);
  const rolled = [re, im].map((values) => {
    const cut = half * inner, out = new Float64Array(n * inner);
    out.set(values.subarray(cut));
    out.set(values.subarray(0, cut), n * inner - cut);
    return out;
  });
  return fft(...rolled, n, inner).map((values) => {
    const out = new Float64Array(n * inner);
    for (let k = 0; k < n; k++) for (let i = 0; i < inner; i++) out[i * n + ((k + half) % n)] = values[k * inner + i];
    return out;
  });
}

// log10 of the magnitude over its largest, and the phase, of the k-space of a real image.
function kspaceOf(image, height, width) {
  const known = Float64Array.from(image, (value) => (Number.isFinite(value) ? value : 0));
  const [re, im] = centredFft(...centredFft(known, new Float64Array(known.length), height, width), width, height);
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

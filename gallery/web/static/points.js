// Points in the plane, drawn by WebGL2: their places are given once, their shades as often as they change.
//
// A shade is a byte: the slot of its colour and shape, CHOSEN, HIDDEN. Points are drawn in slices, so that a page stays
// awake while a million are drawn without a graphics card: what was drawn stays until `clear`.
export const CHOSEN = 64, HIDDEN = 128, SLOTS = 9, SLOT = 15;
const SHAPED = 6; // pixels from which on a shape can be told

const VERTEX = `#version 300 es
in vec2 place;
in uint shade;
uniform vec2 middle, stretch;
uniform float size, faint;
uniform int only;
uniform vec4 colours[${SLOTS}];
flat out vec4 colour;
flat out int slot;
void main() {
  slot = int(shade & ${SLOT}u);
  bool away = (shade & ${HIDDEN}u) != 0u || (only >= 0 && only != slot);
  gl_Position = away ? vec4(2, 2, 2, 1) : vec4((place - middle) * stretch, 0, 1);
  gl_PointSize = size;
  colour = colours[slot];
  if ((shade & ${CHOSEN}u) == 0u) colour.a *= faint;
}`;

// Negative inside a shape, in halves of a point's size.
const FRAGMENT = `#version 300 es
precision highp float;
flat in vec4 colour;
flat in int slot;
uniform float size;
uniform bool shaped, stepped;
uniform vec3 paper;
out vec4 shown;
float cross2(vec2 p) { return max(max(p.x, p.y) - 0.9, min(p.x, p.y) - 0.3); }
float outside(vec2 p) {
  vec2 q = abs(p);
  if (stepped && slot < 7) return length(p) - 0.85;
  if (slot == 1) return max(q.x, q.y) - 0.75;
  if (slot == 2) return max(q.x * 0.87 + p.y * 0.5 - 0.5, -p.y - 0.6);
  if (slot == 3) return (q.x + q.y - 0.95) * 0.71;
  if (slot == 4) return cross2(q);
  if (slot == 5) return cross2(abs(vec2(p.x + p.y, p.x - p.y) * 0.71));
  if (slot == 6) return max(q.x * 0.87 - p.y * 0.5 - 0.5, p.y - 0.6);
  return length(p) - (slot < 7 ? 0.85 : 0.65);
}
void main() {
  float cover = 1.0, edge = 1.0;
  if (shaped) {
    vec2 p = gl_PointCoord * 2.0 - 1.0;
    float far = outside(vec2(p.x, -p.y)) * size * 0.5;
    cover = clamp(0.5 - far, 0.0, 1.0);
    edge = clamp(-far, 0.0, 1.0);
    if (cover == 0.0) discard;
  }
  float alpha = colour.a * cover;
  shown = vec4(mix(paper, colour.rgb, edge) * alpha, alpha);
}`;

// What draws `count` points on a canvas; null where the browser has no WebGL2.
export function drawing(canvas, count) {
  const gl = canvas.getContext("webgl2", { antialias: false, depth: false, preserveDrawingBuffer: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  gl.useProgram(program);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const places = buffer("place", count * 8), shades = buffer("shade", count);
  let fence = null;
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);

  function buffer(name, bytes) {
    const made = gl.createBuffer(), at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, made);
    gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(at);
    if (name === "place") gl.vertexAttribPointer(at, 2, gl.FLOAT, false, 0, 0);
    else gl.vertexAttribIPointer(at, 1, gl.UNSIGNED_BYTE, 0, 0);
    return made;
  }

  function put(into, from, values) {
    gl.bindBuffer(gl.ARRAY_BUFFER, into);
    gl.bufferSubData(gl.ARRAY_BUFFER, from, values);
  }

  return {
    place: (from, values) => put(places, from * 8, values),
    shade: (from, values) => put(shades, from, values),

    // How all are drawn from now on. `colours` are four numbers for each slot, `paper` three, from 0 to 1.
    look({ middle, stretch, size, faint, only, colours, paper, stepped }) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.uniform2fv(uniform("middle"), middle);
      gl.uniform2fv(uniform("stretch"), stretch);
      gl.uniform1f(uniform("size"), size);
      gl.uniform1i(uniform("shaped"), Number(size >= SHAPED));
      gl.uniform1i(uniform("stepped"), Number(stepped));
      gl.uniform1f(uniform("faint"), faint);
      gl.uniform1i(uniform("only"), only);
      gl.uniform4fv(uniform("colours"), colours);
      gl.uniform3fv(uniform("paper"), paper);
    },

    clear: () => gl.clear(gl.COLOR_BUFFER_BIT),

    draw(from, to) {
      gl.drawArrays(gl.POINTS, from, to - from);
      fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
      gl.flush();
    },

    // Whether all that was asked for has been drawn.
    done() {
      if (fence && gl.clientWaitSync(fence, 0, 0) === gl.TIMEOUT_EXPIRED) return false;
      if (fence) gl.deleteSync(fence);
      fence = null;
      return true;
    },
  };
}

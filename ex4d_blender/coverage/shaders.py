# SPDX-License-Identifier: GPL-3.0-or-later
"""The shaders of the overlay: the footage's surface seen from a view, and the hatch over what it lacks.

The surface is the library's `dwmesh` as it renders it (docs/geometry.md, `ex4d_core/frame.py`), which is the truth that
tests hold this against: bridges cut short, half a source pixel of surface around their corners, backs unseen.
"""

from functools import cache

import gpu

BRIDGE_REACH = 0.05
"""How much deeper than its nearest corner a bridge runs: `ex4d_core.occluder.BRIDGE_REACH`."""

_SURFACE_VERTEX = """
// A row of 2x2 blocks is an instance; `corner` counts the 6 vertices of each block along it.
ivec2 place_of(int triangle, int k, ivec2 block)
{
  if (triangle == 0) {  // below, here, right
    return block + (k == 0 ? ivec2(0, 1) : (k == 1 ? ivec2(0, 0) : ivec2(1, 0)));
  }
  return block + (k == 0 ? ivec2(0, 1) : (k == 1 ? ivec2(1, 0) : ivec2(1, 1)));  // below, right, diagonal
}

vec2 image_position(ivec2 pixel, ivec2 size)
{
  // the outermost vertices stand on the frame's edge
  vec2 at = vec2(pixel) + 0.5;
  if (pixel.x == 0) { at.x = 0.0; }
  if (pixel.y == 0) { at.y = 0.0; }
  if (pixel.x == size.x - 1) { at.x = float(size.x); }
  if (pixel.y == size.y - 1) { at.y = float(size.y); }
  return at;
}

vec4 footprint(vec3 vertex, vec4 projected)
{
  // where the corner's source pixel lies in the view, and how large it is; 0 where it does not face the view
  float facing = dot(vertex, vertex * eye.w - eye.xyz);
  if (projected.w <= 0.0 || facing <= 0.0) { return vec4(0.0); }
  vec2 at = (projected.xy / projected.w * 0.5 + 0.5) * view.xy;
  return vec4(at, view.z * vertex.z / projected.w, 1.0);
}

void main()
{
  ivec2 size = textureSize(source, 0);
  int id = int(corner);
  ivec2 block = ivec2(id / 6, gl_InstanceID);
  int triangle = (id % 6) / 3;
  int k = id % 3;
  int bits = int(texelFetch(source, block, 0).y);
  bool bridge = (bits & (triangle + 1)) != 0;

  vec3 vertices[3];
  vec2 positions[3];
  float nearest = 1e30;
  for (int i = 0; i < 3; i++) {
    ivec2 pixel = place_of(triangle, i, block);
    float z = texelFetch(source, pixel, 0).x;
    positions[i] = image_position(pixel, size);
    vertices[i] = vec3((positions[i] - lens.zw) / lens.xy * z, z);
    nearest = min(nearest, z);
  }
  // the winding's normal points away from the source camera, so what it turns to the view is the unseen back
  vec3 normal = cross(vertices[1] - vertices[0], vertices[2] - vertices[0]);
  bool back = dot(normal, eye.xyz - eye.w * vertices[0]) >= 0.0;
  kind = vec2(bridge ? 1.0 : 0.0, back ? 1.0 : 0.0);

  footprint0 = footprint1 = footprint2 = vec4(0.0);
  vec3 vertex = vertices[k];
  if (bridge) {
    footprint0 = footprint(vertices[0], projection * vec4(vertices[0], 1.0));
    footprint1 = footprint(vertices[1], projection * vec4(vertices[1], 1.0));
    footprint2 = footprint(vertices[2], projection * vec4(vertices[2], 1.0));
    vertex *= min(nearest * reach.x / vertex.z, 1.0);
  }
  source_position = positions[k];
  gl_Position = projection * vec4(vertex, 1.0);
  if (reach.y > 0.0) {
    // a perspective view: from the near plane to infinity, whatever the viewport clips
    gl_Position.z = gl_Position.w - 2.0 * reach.y;
  }
}
"""

_SURFACE_FRAGMENT = """
bool covers(vec4 corner)
{
  vec2 away = abs(gl_FragCoord.xy - corner.xy);
  return corner.w > 0.0 && max(away.x, away.y) <= corner.z * (0.5 + 1.0 / 512.0);
}

void main()
{
  bool seen;
  if (kind.x > 0.5) {
    seen = covers(footprint0) || covers(footprint1) || covers(footprint2);
  }
  else {
    seen = kind.y < 0.5;
  }
  // the smaller singular value of d source / d view: source pixels per pixel of the view where it is stretched most
  vec2 dx = dFdx(source_position), dy = dFdy(source_position);
  float total = dot(dx, dx) + dot(dy, dy);
  float area = dx.x * dy.y - dx.y * dy.x;
  float smaller = sqrt(max(total - sqrt(max(total * total - 4.0 * area * area, 0.0)), 0.0) * 0.5);
  bool measured = seen && kind.x < 0.5;
  float lost = measured ? 1.0 - clamp(smaller * view.w, 0.0, 1.0) : 0.0;
  coverage = vec4(seen ? 0.0 : 1.0, seen ? lost : 0.0, 0.0, 1.0);
}
"""

_HATCH_VERTEX = """
void main()
{
  at = position;
  place = texture_position;
  gl_Position = transform * vec4(position, 0.0, 1.0);
}
"""

_HATCH_FRAGMENT = """
void main()
{
  vec4 here = texture(coverage, place);
  // stripes of the same width in the viewport whatever is under them, softened over a pixel
  float along = mod(at.x + at.y, stripes.x) / stripes.x;
  float edge = 1.5 / stripes.x;
  float stripe = smoothstep(0.0, edge, along) - smoothstep(0.5, 0.5 + edge, along);
  float unseen = here.r > 0.5 ? mix(stripes.y, 1.0, here.a) * mix(0.12, 0.6, stripe) : 0.0;
  // from half a source pixel per pixel on it shows, at an eighth it is at its strongest
  float stretched = smoothstep(0.5, 0.875, here.g) * 0.55 * (1.0 - step(0.5, here.r));
  picture = here.r > 0.5 ? vec4(hatch.rgb, unseen) : vec4(tint.rgb, stretched);
}
"""


@cache
def surface_shader() -> gpu.types.GPUShader:
    """Draws the surface: red 1 where unseen, green how stretched (0 none, 1 without limit)."""
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "projection")  # source camera space to clip space
    info.push_constant("VEC4", "eye")  # where the view stands in that space; w 0: a direction
    info.push_constant("VEC4", "lens")  # fx, fy, cx, cy of the source
    info.push_constant("VEC4", "view")  # width, height; view's focal length over the source's; see `surface.draw`
    info.push_constant("VEC2", "reach")  # 1 + BRIDGE_REACH; the near plane, 0: orthographic
    info.sampler(0, "FLOAT_2D", "source")
    info.vertex_in(0, "UINT", "corner")
    between = gpu.types.GPUStageInterfaceInfo("ex4d_surface_interface")
    between.smooth("VEC2", "source_position")
    for name in ("footprint0", "footprint1", "footprint2"):
        between.flat("VEC4", name)
    between.flat("VEC2", "kind")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "coverage")
    info.vertex_source(_SURFACE_VERTEX)
    info.fragment_source(_SURFACE_FRAGMENT)
    return gpu.shader.create_from_info(info)


@cache
def hatch_shader() -> gpu.types.GPUShader:
    """Lays a coverage texture over the viewport."""
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "transform")
    info.push_constant("VEC4", "hatch")
    info.push_constant("VEC4", "tint")
    info.push_constant("VEC2", "stripes")  # their width, pixels; how strong they are where there is nothing
    info.sampler(0, "FLOAT_2D", "coverage")
    info.vertex_in(0, "VEC2", "position")
    info.vertex_in(1, "VEC2", "texture_position")
    between = gpu.types.GPUStageInterfaceInfo("ex4d_hatch_interface")
    between.smooth("VEC2", "at")
    between.smooth("VEC2", "place")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "picture")
    info.vertex_source(_HATCH_VERTEX)
    info.fragment_source(_HATCH_FRAGMENT)
    return gpu.shader.create_from_info(info)


def forget() -> None:
    """Give the compiled shaders back."""
    surface_shader.cache_clear()
    hatch_shader.cache_clear()

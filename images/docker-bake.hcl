// Every image of lamflow, from the root of the repository:
//
//     docker buildx bake --file images/docker-bake.hcl --load
//     make images REGISTRY=registry.example.org/lamflow      # all of them, pushed, with attestations

variable "REGISTRY" { default = "lamflow" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "" }
// What base and deepmd-cuda begin with: one image and no other, on whatever processor. A mirror of your own is PYTHON=mirror/python:3.11.
variable "PYTHON" { default = "python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d" }

group "default" { targets = ["base", "deepmd-cuda", "tools", "label-qe", "label-cp2k", "label-vasp", "label-abacus", "label-gpaw", "label-gaussian"] }

target "common" {
  context = "."
  args    = { VERSION = VERSION, REVISION = REVISION, PYTHON = PYTHON }
}

target "base" {
  inherits   = ["common"]
  dockerfile = "images/base/Dockerfile"
  tags       = ["${REGISTRY}/base:${VERSION}"]
}

target "deepmd-cuda" {
  inherits   = ["common"]
  dockerfile = "images/deepmd-cuda/Dockerfile"
  tags       = ["${REGISTRY}/deepmd-cuda:${VERSION}"]
}

target "tools" {
  inherits   = ["common"]
  dockerfile = "images/tools/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/tools:${VERSION}"]
}

target "label-qe" {
  inherits   = ["common"]
  dockerfile = "images/label-qe/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-qe:${VERSION}"]
}

target "label-cp2k" {
  inherits   = ["common"]
  dockerfile = "images/label-cp2k/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-cp2k:${VERSION}"]
}

target "label-vasp" {
  inherits   = ["common"]
  dockerfile = "images/label-vasp/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-vasp:${VERSION}"]
}

target "label-gpaw" {
  inherits   = ["common"]
  dockerfile = "images/label-gpaw/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-gpaw:${VERSION}"]
}

target "label-gaussian" {
  inherits   = ["common"]
  dockerfile = "images/label-gaussian/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-gaussian:${VERSION}"]
}

target "label-abacus" {
  inherits   = ["common"]
  dockerfile = "images/label-abacus/Dockerfile"
  contexts   = { base = "target:base" }
  tags       = ["${REGISTRY}/label-abacus:${VERSION}"]
}

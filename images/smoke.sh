#!/bin/sh
# What every image must be, looked at inside: it runs as user 1000 without network, privileges or a place to write but /tmp,
# no file of it lends rights, it can draw a report's figures, and lamflow finds its engines.
#
#     images/smoke.sh IMAGE ...        DOCKER=podman works as well
set -eu
for image in "$@"; do
  echo "== $image"
  "${DOCKER:-docker}" run --rm --network=none --read-only --tmpfs /tmp --cap-drop=ALL --security-opt=no-new-privileges \
    --env HOME=/tmp "$image" sh -euc '
      test "$(id -u)" = 1000 || { echo "it runs as user $(id -u), not 1000"; exit 1; }
      lends=$(find / -xdev -type f -perm /6000 2>/dev/null || true)
      test -z "$lends" || { echo "setuid or setgid: $lends"; exit 1; }
      python -c "from matplotlib.figure import Figure; Figure().add_subplot().plot([0, 1]).pop().figure.savefig(\"/tmp/figure.png\")"
      lamflow doctor'
done

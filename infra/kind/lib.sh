# Shared by the scripts beside it: where the repository is, what is pinned, and a
# kubectl that can reach no other cluster than ours.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=versions.env
source infra/kind/versions.env

cluster=footfall # as kind-config.yaml names it

say() { printf '\n== %s\n' "$*"; }

need() {
  command -v "$1" >/dev/null || { echo "cannot go on without $1: $2" >&2; exit 1; }
}

k() { kubectl --context "kind-$cluster" "$@"; }

# again runs a command until it works, at most some minutes: a webhook that was
# just installed refuses connections for a while.
again() {
  local tries=30
  until "$@"; do
    ((tries-- > 1)) || { echo "cannot $*: given up" >&2; return 1; }
    sleep 5
  done
}

#!/usr/bin/env bash
# down.sh <kind>: removes the cluster and all its data.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
need docker "kind runs its nodes in containers"
exec "$1" delete cluster --name "$cluster"

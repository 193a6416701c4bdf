#!/usr/bin/env bash
# deploy.sh <kind> <ko>: the stores, then the functions, built by ko from this working
# copy straight into the node, then the wiring. It can be run again; secrets are
# made once.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
kind=$1 ko=$2

need docker "ko puts images into kind's node through it"
need kubectl "https://kubernetes.io/docs/tasks/tools/"
"$kind" get clusters | grep -qx "$cluster" || { echo "cannot deploy without a cluster: make kind-up" >&2; exit 1; }

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

say "secrets"
k apply -f infra/stores/namespaces.yaml -f infra/kind/namespace.yaml
# Both or none: the functions' passwords are those that the stores were made with.
if ! k -n stores get secret stores >/dev/null 2>&1 || ! k -n footfall get secret footfall >/dev/null 2>&1; then
  sed -e "s/@ADMIN_TOKEN@/ffa_$(random)/" -e "s/@MONGODB_PASSWORD@/$(random)/" \
    -e "s/@REDIS_PASSWORD@/$(random)/" -e "s/@MONGODB_KEYFILE@/$(random)/" \
    infra/kind/secrets.yaml.tmpl | k create -f -
fi

say "stores"
k apply -k infra/kind/stores
k -n kafka wait kafka/kafka --for=condition=Ready --timeout=15m
# A Broker gets ready only when its topic is there.
k -n kafka wait kafkatopic --all --for=condition=Ready --timeout=5m
for s in mongodb redis hdfs-namenode hdfs-datanode; do
  k -n stores rollout status "statefulset/$s" --timeout=15m
done

say "functions and wiring"
manifests=$(k kustomize infra/kind |
  KO_DOCKER_REPO=kind.local KIND_CLUSTER_NAME=$cluster \
    "$ko" resolve -P --sbom=none --platform="linux/$(go env GOARCH)" -f -)
apply() { k apply -f - <<<"$manifests"; }
again apply
k -n footfall wait ksvc --all --for=condition=Ready --timeout=10m
k -n footfall wait broker,trigger,kafkasink,pingsource --all --for=condition=Ready --timeout=10m

say "Footfall is up"
k -n footfall get ksvc
cat <<END

The admin token:
  kubectl --context kind-$cluster -n footfall get secret footfall -o jsonpath='{.data.admin-token}' | base64 -d
A first merchant:
  curl -sS http://merchant.footfall.127.0.0.1.sslip.io/v1/merchants -H "Authorization: Bearer \$ADMIN_TOKEN" \
    -d '{"name":"Shop","time_zone":"Europe/Berlin","currency":"EUR"}'
Its events go to http://collect.footfall.127.0.0.1.sslip.io/events, its reports are at http://report.footfall.127.0.0.1.sslip.io/v1/reports/{merchant_id}
END

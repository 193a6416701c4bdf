#!/usr/bin/env bash
# up.sh <kind>: makes the cluster and installs Knative, its Kafka Broker, an ingress
# and Strimzi, as versions.env pins them. It can be run again.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
kind=$1

need docker "kind runs its nodes in containers (https://docs.docker.com/engine/install/)"
need kubectl "https://kubernetes.io/docs/tasks/tools/"
need curl "it fetches Strimzi's manifests"

say "cluster"
"$kind" get clusters | grep -qx "$cluster" || "$kind" create cluster --config kind-config.yaml --wait 5m

releases=https://github.com
serving=$releases/knative/serving/releases/download/knative-v$KNATIVE_SERVING
eventing=$releases/knative/eventing/releases/download/knative-v$KNATIVE_EVENTING
kafka=$releases/knative-extensions/eventing-kafka-broker/releases/download/knative-v$KNATIVE_KAFKA_BROKER
kourier=$releases/knative-extensions/net-kourier/releases/download/knative-v$KOURIER
strimzi=$releases/strimzi/strimzi-kafka-operator/releases/download/$STRIMZI

available() { k -n "$1" wait deployment --all --for=condition=Available --timeout=10m; }
established() { k wait crd --all --for=condition=Established --timeout=2m; }

say "Knative Serving $KNATIVE_SERVING, Kourier $KOURIER"
again k apply -f "$serving/serving-crds.yaml"
established
again k apply -f "$serving/serving-core.yaml"
again k apply -f "$kourier/kourier.yaml"
k apply -f infra/kind/ingress.yaml
available knative-serving
available kourier-system
again k -n knative-serving patch configmap config-network --type merge \
  -p '{"data":{"ingress-class":"kourier.ingress.networking.knative.dev"}}'
# Else a request's address would be the gateway's, and every visitor the same.
again k -n knative-serving patch configmap config-kourier --type merge \
  -p '{"data":{"use-remote-address":"true"}}'
again k -n knative-serving patch configmap config-domain --type merge \
  -p '{"data":{"127.0.0.1.sslip.io":""}}'

say "Knative Eventing $KNATIVE_EVENTING, Kafka Broker $KNATIVE_KAFKA_BROKER"
again k apply -f "$eventing/eventing-crds.yaml"
established
again k apply -f "$eventing/eventing-core.yaml"
available knative-eventing
again k apply -f "$kafka/eventing-kafka-controller.yaml"
established
again k apply -f "$kafka/eventing-kafka-broker.yaml"
again k apply -f "$kafka/eventing-kafka-sink.yaml"
available knative-eventing

say "Strimzi $STRIMZI"
k apply -f infra/stores/namespaces.yaml
curl -fsSL --retry 5 "$strimzi/strimzi-cluster-operator-$STRIMZI.yaml" |
  sed 's/namespace: myproject$/namespace: kafka/' | k apply --server-side --force-conflicts -n kafka -f -
established
available kafka

say "the cluster is up; make deploy brings Footfall"

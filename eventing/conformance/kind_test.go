package conformance

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func read(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// kind takes its configuration, and maps the port on which the ingress is.
func TestKindConfig(t *testing.T) {
	var cluster v1alpha4.Cluster
	if err := decode([]byte(read(t, "kind-config.yaml")), &cluster); err != nil {
		t.Fatal(err)
	}
	if cluster.APIVersion != "kind.x-k8s.io/v1alpha4" || cluster.Kind != "Cluster" {
		t.Errorf("%s %s", cluster.APIVersion, cluster.Kind)
	}
	if !strings.Contains(read(t, "infra/kind/lib.sh"), "\ncluster="+cluster.Name+" ") {
		t.Errorf("infra/kind/lib.sh knows no cluster %q", cluster.Name)
	}
	mapped := make(map[int32]bool)
	for _, node := range cluster.Nodes {
		for _, p := range node.ExtraPortMappings {
			mapped[p.ContainerPort] = true
			if p.ListenAddress != "127.0.0.1" {
				t.Errorf("port %d is open to %q", p.HostPort, p.ListenAddress)
			}
		}
	}
	for _, o := range readObjects(t, "infra/kind/ingress.yaml") {
		var svc corev1.Service
		if err := decode(o.Text, &svc); err != nil {
			t.Fatal(err)
		}
		for _, p := range svc.Spec.Ports {
			if !mapped[p.NodePort] {
				t.Errorf("%s: node port %d is not mapped by kind-config.yaml", o, p.NodePort)
			}
		}
	}
}

// The cluster gets the Knative that this module checks with.
func TestPinnedVersions(t *testing.T) {
	pinned := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=([0-9]+\.[0-9]+\.[0-9]+)$`).FindAllStringSubmatch(read(t, "infra/kind/versions.env"), -1) {
		pinned[m[1]] = m[2]
	}
	// Knative's release 1.x is v0.(x+27) of its modules.
	minor := func(module string) string {
		m := regexp.MustCompile(regexp.QuoteMeta(module) + ` v0\.([0-9]+)\.`).FindStringSubmatch(read(t, "eventing/conformance/go.mod"))
		if m == nil {
			t.Fatalf("go.mod requires no %s", module)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("1.%d.", n-27)
	}
	for name, want := range map[string]string{
		"KNATIVE_SERVING": minor("knative.dev/serving"), "KNATIVE_EVENTING": minor("knative.dev/eventing"),
		"KNATIVE_KAFKA_BROKER": minor("knative.dev/eventing"), "KOURIER": minor("knative.dev/serving"), "STRIMZI": "1.",
	} {
		if !strings.HasPrefix(pinned[name], want) {
			t.Errorf("%s is %q, want %sx", name, pinned[name], want)
		}
	}
	if m := regexp.MustCompile(`sigs.k8s.io/kind (v[0-9.]+)`).FindStringSubmatch(read(t, "eventing/conformance/go.mod")); m == nil || !strings.Contains(read(t, "Makefile"), "kind-"+m[1]) {
		t.Errorf("the Makefile builds another kind than %v", m)
	}
}

// The scripts parse, and name only files that there are.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob(filepath.Join(root, "infra/kind/*.sh"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%d scripts, error %v", len(scripts), err)
	}
	paths := regexp.MustCompile(`\b(infra/[a-z./-]+|kind-config\.yaml)`)
	for _, script := range scripts {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "bash", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths.FindAllString(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Errorf("%s names %s: %v", script, path, err)
			}
		}
	}
}

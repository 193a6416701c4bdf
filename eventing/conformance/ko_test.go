package conformance

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	change "github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// ko itself turns the overlay into images and their digests, with a registry in
// this process in place of the world's, and an empty image as the base.
func TestKoBuildsTheOverlay(t *testing.T) {
	ko, err := filepath.Abs(filepath.Join(root, "bin/ko-v0.19.1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(ko); err != nil {
		t.Skip("make bin/ko-v0.19.1 would run this: ko compiles for minutes")
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	base, err := name.ParseReference(host + "/base:1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := change.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(base, image); err != nil {
		t.Fatal(err)
	}

	var manifests, resolved, complaints bytes.Buffer
	for _, o := range render(t, "infra/kind") {
		manifests.WriteString("---\n")
		manifests.Write(o.Text)
	}
	cmd := exec.Command(ko, "resolve", "-P", "--sbom=none", "--platform=linux/"+runtime.GOARCH, "--insecure-registry", "-f", "-")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "KO_DOCKER_REPO="+host, "KO_DEFAULTBASEIMAGE="+base.String())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &manifests, &resolved, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("ko resolve: %v\n%s", err, complaints.String())
	}

	docs, err := split(resolved.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	ctx, built := serving(t), make(map[string]bool)
	for _, doc := range docs {
		o := asRendered(t, doc)
		if _, err := judge(ctx, doc); err != nil {
			t.Errorf("%s: %v", o, err)
		}
		if !o.is("serving.knative.dev/v1", "Service") {
			continue
		}
		ref := service(t, o).Spec.Template.Spec.Containers[0].Image
		if !strings.Contains(ref, "@sha256:") {
			t.Errorf("%s: image %s is at no digest", o, ref)
		}
		if built[ref] {
			continue // ingest is two Services
		}
		built[ref] = true
		digest, err := name.NewDigest(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Image(digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := got.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		layers, err := got.Layers()
		if err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		for _, l := range layers {
			n, err := l.Size()
			if err != nil {
				t.Fatal(err)
			}
			size += n
		}
		if len(config.Config.Entrypoint) != 1 || !strings.HasPrefix(config.Config.Entrypoint[0], "/ko-app/") {
			t.Errorf("%s: the image runs %v", o, config.Config.Entrypoint)
		}
		t.Logf("%s: %.1f MB compressed, runs %v", o, float64(size)/1e6, config.Config.Entrypoint)
	}
	if len(built) != 6 {
		t.Errorf("%d images, want one for each of 6 functions", len(built))
	}
}

// Command cluster runs Footfall on this machine as a cluster runs it, until it
// is told to stop.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"knative.dev/pkg/signals"

	"github.com/footfall/footfall/infra/cluster"
	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/shared/function"
)

func main() {
	if err := run(signals.NewContext(), os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	data := flags.String("data", filepath.Join(local.DataDir(os.Environ()), "cluster"), "folder for everything that it keeps")
	addr := flags.String("addr", "127.0.0.1:8080", "where the front listens")
	instances := flags.Int("instances", 2, "processes of each function")
	post := flags.Bool("post", false, "let functions publish by POST to the Brokers' URLs, not to Kafka")
	knative := flags.String("knative", "", "let a Knative deliver, in place of our dispatcher: URL of its Brokers, without their names (http://…/footfall)")
	apply := flags.String("apply", "", "of -knative: a shell command that gives it the wiring, whose file is $WIRING, and waits until it delivers by that")
	ticks := flags.Bool("ticks", false, "of -knative: fire the PingSources from here, for receiver and dispatcher alone")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *knative == "" && (*apply != "" || *ticks) {
		return errors.New("-apply and -ticks go with -knative")
	}
	if *instances < 1 || *instances > 16 {
		return fmt.Errorf("-instances: expected 1 to 16, got %d", *instances)
	}
	dir, err := filepath.Abs(*data)
	if err != nil {
		return err
	}
	checkout, err := services.Checkout()
	if err != nil {
		return err
	}
	cache, err := services.CacheDir()
	if err != nil {
		return err
	}
	software, err := services.Fetch(ctx, cache, os.Stderr,
		services.KindKafka, services.KindHDFS, services.KindRedis, services.KindMongoDB)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "cluster: building and starting")
	binaries := filepath.Join(dir, "bin")
	if err := cluster.Build(ctx, checkout, binaries); err != nil {
		return err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Software: software, Binaries: binaries, Data: dir, Addr: *addr, Instances: *instances,
		Knative: cluster.NewKnative(*knative, *apply, *ticks), Post: *post,
		Admin: function.Secret(os.Getenv(function.Prefix + "ADMIN_TOKEN")),
		Log:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	local.Greet(os.Stdout, c.URL(), *data, c.First)
	c.Describe(os.Stdout)
	<-ctx.Done()
	fmt.Fprintln(os.Stderr, "cluster: stopping")
	return c.Stop()
}

// Command spark asks an archive in SQL, through Spark on this machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/footfall/footfall/infra/services"
	"github.com/footfall/footfall/infra/spark"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("expected the archive's files, such as hdfs://namenode:8020/footfall/archive or file://$PWD/data/archive, and queries")
	}
	cache, err := services.CacheDir()
	if err != nil {
		return err
	}
	s, err := spark.Fetch(ctx, cache, os.Stderr)
	if err != nil {
		return err
	}
	rows, err := s.Query(ctx, args[0], args[1:]...)
	if err != nil {
		return err
	}
	for i, r := range rows {
		if i > 0 {
			fmt.Println()
		}
		fmt.Println(strings.Join(r, "\n"))
	}
	return nil
}

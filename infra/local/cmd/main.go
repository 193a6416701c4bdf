// Command footfall runs all of Footfall in one process, and holds the tools
// that go with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"knative.dev/pkg/signals"

	"github.com/footfall/footfall/infra/local"
	"github.com/footfall/footfall/infra/local/demo"
	"github.com/footfall/footfall/infra/local/importer"
	"github.com/footfall/footfall/infra/local/topics"
	"github.com/footfall/footfall/shared/function"
)

const usage = `Footfall: analytics for a million merchants, here in one process.

  footfall run                      start everything, in the foreground
  footfall dispatch                 deliver the Brokers' events to functions that run elsewhere
  footfall import [flags] FILE|-    read an access log into a running Footfall
  footfall demo [flags]             send a shop's traffic, or a log, and print reports
  footfall archive ls [FROM [TO]]   list the archive's files by hour of arrival
  footfall archive cat PATH…        print archived batches as JSON lines ("-" reads stdin)
  footfall reprocess COMMAND        compute history anew, compare, publish, roll back
  footfall topics ensure|check      make and check the topics on a Kafka of your own

Each command explains its flags with -h. The environment configures the rest:
FOOTFALL_ADDR (127.0.0.1:8080), FOOTFALL_DATA (./data), FOOTFALL_ADMIN_TOKEN, …
`

func main() {
	function.BoundMemory()
	if err := run(signals.NewContext(), os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "footfall:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("expected a command")
	}
	switch command, rest := args[0], args[1:]; command {
	case "run":
		if len(rest) > 0 {
			return fmt.Errorf("run: unexpected %q", rest)
		}
		return local.Main(ctx, os.Environ(), os.Stdout)
	case "dispatch":
		if len(rest) > 0 {
			return fmt.Errorf("dispatch: unexpected %q", rest)
		}
		return local.Dispatch(ctx, os.Environ(), os.Stderr)
	case "import":
		return importer.Run(ctx, rest, os.Stdin, os.Stdout, os.Stderr)
	case "demo":
		return demo.Run(ctx, rest, local.DataDir(os.Environ()), os.Stdin, os.Stdout, os.Stderr)
	case "archive":
		return archive(ctx, rest, os.Environ(), os.Stdin, os.Stdout)
	case "reprocess":
		return reprocess(ctx, rest, os.Environ(), os.Stdout, os.Stderr)
	case "topics":
		return topics.Run(ctx, rest, os.Environ(), os.Stdout, os.Stderr)
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return nil
	default:
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("unknown command %q", command)
	}
}

// Package spark asks an archive in SQL through Spark, on this machine: the
// proof that the archive is open to others, and a tool to look into one.
// README.md shows how.
package spark

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/footfall/footfall/infra/services"
)

var (
	//go:embed pom.xml
	pom []byte
	//go:embed Archive.java
	program []byte
)

// copyDependencies is Maven's plugin and goal that puts an artifact's jars into a folder.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

// opened are the packages of the JDK that Spark reaches into.
var opened = []string{
	"java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util", "java.util.concurrent",
	"java.util.concurrent.atomic", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar",
}

// Spark is what runs queries.
type Spark struct {
	java string
	jars string // the folder
}

// Fetch finds a Java runtime and brings Spark's jars (269 MB) into the cache
// folder, where they are not there already. Of several at once each may fetch;
// the first to finish counts.
func Fetch(ctx context.Context, cache string, progress io.Writer) (*Spark, error) {
	software, err := services.Fetch(ctx, cache, progress, services.KindHDFS) // finds or installs Java and Maven
	if err != nil {
		return nil, err
	}
	s := &Spark{java: software.Java, jars: filepath.Join(cache, fmt.Sprintf("spark-4.0.1-%x", sha256.Sum256(pom))[:len("spark-4.0.1")+9])}
	if _, err := os.Stat(s.jars); err == nil {
		return s, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fmt.Fprintln(progress, "spark: fetching Spark 4.0.1")
	work, err := os.MkdirTemp(cache, ".spark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	file, jars := filepath.Join(work, "pom.xml"), filepath.Join(work, "jars")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "--strict-checksums", "-f", file, copyDependencies,
		"-DincludeScope=runtime", "-DoutputDirectory="+jars)
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot fetch Spark: %w\n%s", err, bytes.TrimSpace(said))
	}
	if err := os.Rename(jars, s.jars); err != nil {
		if _, there := os.Stat(s.jars); there == nil {
			return s, nil // another one was quicker
		}
		return nil, err
	}
	return s, nil
}

// Query runs queries over the files of an archive, such as
// "hdfs://namenode:8020/footfall/archive" for all of it, and returns each
// one's rows as lines of JSON. Archive.java says which views there are.
func (s *Spark) Query(ctx context.Context, files string, queries ...string) (rows [][]string, err error) {
	dir, err := os.MkdirTemp("", "footfall-spark-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source := filepath.Join(dir, "Archive.java")
	logs := filepath.Join(dir, "log4j2.properties")
	if err := errors.Join(os.WriteFile(source, program, 0o600), os.WriteFile(logs, []byte(log4j2), 0o600)); err != nil {
		return nil, err
	}
	args := []string{"-Xmx1g", "-XX:+UseSerialGC", "-Djdk.reflect.useDirectMethodHandle=false", "-Dlog4j2.configurationFile=" + logs,
		"-Djava.io.tmpdir=" + dir, "-Dspark.master=local[2]"}
	for _, p := range opened {
		args = append(args, "--add-opens=java.base/"+p+"=ALL-UNNAMED")
	}
	args = append(args, "-cp", filepath.Join(s.jars, "*"), source, files)
	cmd := exec.CommandContext(ctx, s.java, append(args, queries...)...)
	cmd.Dir = dir
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("cannot query archive %q with Spark: %w\n%s", files, err, tail(complaint.Bytes()))
	}
	rows = make([][]string, 1, len(queries))
	for line := range strings.SplitSeq(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if line == "" { // stands between two queries' rows, of which there may be none
			rows = append(rows, nil)
			continue
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], line)
	}
	if len(rows) != len(queries) {
		return nil, fmt.Errorf("cannot query archive %q with Spark: %d answers to %d queries", files, len(rows), len(queries))
	}
	return rows, nil
}

const log4j2 = `rootLogger.level = warn
rootLogger.appenderRef.err.ref = err
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = %p %c{1}: %m%n
`

func tail(b []byte) []byte { return bytes.TrimSpace(b[max(0, len(b)-8<<10):]) }

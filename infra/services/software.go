package services

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
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CacheVariable names the folder that downloads are kept in, so that several
// checkouts can share one. Tests that start servers of their own run when it is set.
const CacheVariable = "FOOTFALL_SERVICES_CACHE"

// What is fetched. The names of the cache's folders hold a hash of these
// files, so a changed version is a new folder.
var (
	//go:embed kafka.pom.xml
	kafkaPOM []byte
	//go:embed hdfs.pom.xml
	hdfsPOM []byte
	//go:embed secantusdb.txt
	secantusRequirements []byte
)

// copyDependencies is Maven's plugin and goal that puts an artifact's jars into a folder.
const copyDependencies = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

const (
	fetchTries = 3
	// A JDK that runs both: Kafka 4 needs 17, and Hadoop 3.4 uses the security
	// manager, which 24 has taken away.
	minJava, maxJava = 17, 23
)

// Software is what servers need on this machine, by path.
type Software struct {
	Java        string
	KafkaJars   string // the folder
	HDFSJars    string // the folder
	RedisServer string
	Python      string // of the environment in which SecantusDB is installed
}

// Kind is a server, or a group of servers that serve as one.
type Kind string

// The kinds of servers.
const (
	KindKafka        Kind = "kafka"
	KindHDFS         Kind = "hdfs"
	KindRedis        Kind = "redis"
	KindRedisCluster Kind = "redis-cluster"
	KindMongoDB      Kind = "mongodb"
)

// Kinds are all kinds.
func Kinds() []Kind {
	return []Kind{KindKafka, KindHDFS, KindRedis, KindRedisCluster, KindMongoDB}
}

// CacheDir is where downloads are kept: the folder that CacheVariable names,
// else bin/services in the checkout that the working directory is in.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	root, err := Checkout()
	return filepath.Join(root, "bin", "services"), err
}

// Checkout is the folder of the go.mod that the working directory belongs to.
func Checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("cannot find the checkout: no go.mod here or above")
		}
		dir = up
	}
}

// folder is the place of something in the cache.
func folder(cache, name string, what []byte) string {
	return filepath.Join(cache, fmt.Sprintf("%s-%x", name, sha256.Sum256(what))[:len(name)+9])
}

// Cached is what Fetch has found or brought before, and an error that names
// all that is missing. It reaches for no network.
func Cached(ctx context.Context, cache string, kinds ...Kind) (*Software, error) {
	f := fetcher{cache: cache}
	f.look(ctx, kinds)
	if len(f.missing) > 0 {
		var names []string
		for _, m := range f.missing {
			names = append(names, m.name)
		}
		return nil, fmt.Errorf("cannot start servers: %s missing in %q or on this machine: make services-fetch brings it", strings.Join(names, ", "), cache)
	}
	return &f.software, nil
}

// Fetch finds on this machine what the kinds of servers need, and brings the
// rest through the package managers' own clients: Debian's packages with
// apt-get where we are root, jars with Maven, SecantusDB with pip. What it
// brings is kept in the cache folder. A fetch that is interrupted leaves
// nothing there that counts, and of several at once one works and the others
// wait for it. It says on progress what it does.
func Fetch(ctx context.Context, cache string, progress io.Writer, kinds ...Kind) (*Software, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(cache, ".lock"), 0)
	if err != nil {
		return nil, err
	}
	defer unlock()
	f := fetcher{cache: cache, progress: progress}
	f.look(ctx, kinds)
	if len(f.missing) == 0 {
		return &f.software, nil
	}
	if err := f.packages(ctx, kinds); err != nil {
		return nil, err
	}
	for _, m := range f.missing {
		if m.fetch == nil {
			continue
		}
		if err := f.fetch(ctx, m); err != nil {
			return nil, err
		}
	}
	return Cached(ctx, cache, kinds...)
}

// fetcher looks for what is there and brings what is not.
type fetcher struct {
	cache    string
	progress io.Writer
	software Software
	missing  []missing
}

// missing is something that has to be brought: a Debian package, or a folder of the cache.
type missing struct {
	name  string
	debs  []string // any of these will do, best first
	dir   string
	fetch func(ctx context.Context, dir string) error
}

// look fills software and missing.
func (f *fetcher) look(ctx context.Context, kinds []Kind) {
	f.missing = nil
	if slices.Contains(kinds, KindKafka) || slices.Contains(kinds, KindHDFS) {
		if f.software.Java = findJava(ctx); f.software.Java == "" {
			f.missing = append(f.missing, missing{name: fmt.Sprintf("a Java runtime from %d to %d", minJava, maxJava),
				debs: []string{"openjdk-17-jre-headless", "openjdk-21-jre-headless"}})
		}
	}
	if slices.Contains(kinds, KindKafka) {
		f.software.KafkaJars = f.jars("kafka-4.1.1", kafkaPOM)
	}
	if slices.Contains(kinds, KindHDFS) {
		f.software.HDFSJars = f.jars("hdfs-3.4.2", hdfsPOM)
	}
	if slices.Contains(kinds, KindRedis) || slices.Contains(kinds, KindRedisCluster) {
		if f.software.RedisServer = findRedis(); f.software.RedisServer == "" {
			// Debian's redis-server only links to the program in redis-tools,
			// and starts a service that nobody here asked for.
			f.missing = append(f.missing, missing{name: "redis-server", debs: []string{"redis-tools"}})
		}
	}
	if slices.Contains(kinds, KindMongoDB) {
		dir := folder(f.cache, "secantusdb-0.7.0b3", secantusRequirements)
		f.software.Python = filepath.Join(dir, "bin", "python")
		if _, err := os.Stat(f.software.Python); err != nil { // it is a link to the system's
			f.missing = append(f.missing, missing{name: "SecantusDB", dir: dir, fetch: f.pip})
			if !hasVenv(ctx) {
				f.missing = append(f.missing, missing{name: "Python with venv", debs: []string{"python3-venv"}})
			}
		}
	}
}

// jars is the folder of the jars that a POM needs.
func (f *fetcher) jars(name string, pom []byte) string {
	dir := folder(f.cache, name, pom)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	f.missing = append(f.missing, missing{name: name, dir: dir, fetch: func(ctx context.Context, dir string) error { return f.maven(ctx, dir, pom) }})
	if _, err := exec.LookPath("mvn"); err != nil && !slices.ContainsFunc(f.missing, func(m missing) bool { return m.name == "Maven" }) {
		f.missing = append(f.missing, missing{name: "Maven", debs: []string{"maven"}})
	}
	return dir
}

// packages installs the Debian packages that are missing and looks again.
func (f *fetcher) packages(ctx context.Context, kinds []Kind) error {
	var names, want []string
	var choices [][]string
	for _, m := range f.missing {
		if m.debs != nil {
			names, want, choices = append(names, m.name), append(want, m.debs[0]), append(choices, m.debs)
		}
	}
	if names == nil {
		return nil
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("cannot start servers: %s missing, and only root on Debian can install it; install it and try again (on Debian: apt-get install %s)",
			strings.Join(names, ", "), strings.Join(want, " "))
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, apt, append([]string{"-q", "-y", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		return f.run(cmd)
	}
	if err := run("update"); err != nil {
		return err
	}
	for i, c := range choices {
		for _, deb := range c { // the first that this release of Debian has
			if run("install", "--simulate", "--no-install-recommends", deb) == nil {
				want[i] = deb
				break
			}
		}
	}
	f.say("installing %s", strings.Join(want, ", "))
	if err := run(append([]string{"install", "--no-install-recommends"}, want...)...); err != nil {
		return err
	}
	f.look(ctx, kinds)
	for _, m := range f.missing {
		if m.debs != nil {
			return fmt.Errorf("cannot find %s although apt-get has installed %s", m.name, strings.Join(want, ", "))
		}
	}
	return nil
}

// fetch brings a folder: into another place first, for a folder of the cache
// is whole by being there.
func (f *fetcher) fetch(ctx context.Context, m missing) error {
	begin := time.Now()
	f.say("fetching %s", m.name)
	var err error
	for try := range fetchTries {
		if try > 0 {
			f.say("fetching %s again: %v", m.name, err)
		}
		if err = f.fetchOnce(ctx, m); err == nil {
			f.say("fetched %s in %.1f s", m.name, time.Since(begin).Seconds())
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("cannot fetch %s: %w", m.name, err)
}

func (f *fetcher) fetchOnce(ctx context.Context, m missing) error {
	// What an interrupted fetch has left; we hold the cache's lock.
	partial := filepath.Join(f.cache, ".partial")
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := m.fetch(ctx, partial); err != nil {
		return err
	}
	if err := os.RemoveAll(m.dir); err != nil { // what no longer works, if anything
		return err
	}
	return os.Rename(partial, m.dir)
}

func (f *fetcher) maven(ctx context.Context, dir string, pom []byte) error {
	work, err := os.MkdirTemp("", "footfall-maven-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	file := filepath.Join(work, "pom.xml")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "--strict-checksums", "-f", file, copyDependencies,
		"-DincludeScope=runtime", "-DoutputDirectory="+dir)
	if f.software.Java != "" {
		cmd.Env = append(os.Environ(), "JAVA_HOME="+filepath.Dir(filepath.Dir(f.software.Java)))
	}
	return f.run(cmd)
}

func (f *fetcher) pip(ctx context.Context, dir string) error {
	python, err := exec.LookPath("python3")
	if err != nil {
		return err
	}
	if err := f.run(exec.CommandContext(ctx, python, "-m", "venv", dir)); err != nil {
		return err
	}
	requirements := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(requirements, secantusRequirements, 0o600); err != nil {
		return err
	}
	return f.run(exec.CommandContext(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "-q", "--only-binary", ":all:", "-r", requirements))
}

// run runs a client quietly; what it said is part of its error.
func (f *fetcher) run(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

func (f *fetcher) say(format string, args ...any) {
	fmt.Fprintf(f.progress, "services: "+format+"\n", args...)
}

// findJava is a Java of a version that runs all: that of JAVA_HOME, of the
// path, or any that Debian has installed.
func findJava(ctx context.Context) string {
	var candidates []string
	if home := os.Getenv("JAVA_HOME"); home != "" {
		candidates = append(candidates, filepath.Join(home, "bin", "java"))
	}
	if path, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, path)
	}
	installed, _ := filepath.Glob("/usr/lib/jvm/*/bin/java") // the pattern is good
	for _, java := range append(candidates, installed...) {
		java, err := filepath.EvalSymlinks(java) // its folder's folder is JAVA_HOME
		if err != nil {
			continue
		}
		said, err := exec.CommandContext(ctx, java, "-version").CombinedOutput()
		if v := javaVersion(said); err == nil && v >= minJava && v <= maxJava {
			return java
		}
	}
	return ""
}

var javaVersionLine = regexp.MustCompile(`version "(\d+)`)

// javaVersion reads the major version, as 17, from what java -version says.
func javaVersion(said []byte) int {
	m := javaVersionLine.FindSubmatch(said)
	if m == nil {
		return 0
	}
	v, _ := strconv.Atoi(string(m[1])) // digits
	return v
}

func findRedis() string {
	for _, name := range []string{"redis-server", "redis-check-rdb"} { // one program, which looks at its argv[0]
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// hasVenv says whether Python can make environments with pip: Debian has put
// that into a package of its own.
func hasVenv(ctx context.Context) bool {
	python, err := exec.LookPath("python3")
	return err == nil && exec.CommandContext(ctx, python, "-c", "import venv, ensurepip").Run() == nil
}

// exists says whether there is a file or folder at path.
func exists(path string) (bool, error) {
	switch _, err := os.Stat(path); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}

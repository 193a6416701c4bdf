package services

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// HDFS is a NameNode and a DataNode, each of which can be stopped, killed and
// started alone. A node counts as ready when it serves and, where the other
// one runs too, when the two have found each other and files can be written.
type HDFS struct {
	NameNode, DataNode *Server

	nameHTTP, dataHTTP string
}

// hdfsSite has the settings that make the outcome of tests honest (a closed
// file is on disk), small (blocks, heaps, threads) and quick (heartbeats,
// so that a restart is noticed in seconds).
func hdfsSite(p ports, dir string) map[string]string {
	return map[string]string{
		"dfs.replication":                         "1",
		"dfs.namenode.name.dir":                   "file://" + filepath.Join(dir, "name"),
		"dfs.datanode.data.dir":                   "file://" + filepath.Join(dir, "data"),
		"dfs.permissions.enabled":                 "false",
		"dfs.namenode.rpc-address":                p.address("namenode"),
		"dfs.namenode.http-address":               p.address("namenode-http"),
		"dfs.namenode.safemode.extension":         "0",
		"dfs.namenode.handler.count":              "8",
		"dfs.namenode.heartbeat.recheck-interval": "2000", // ms; a dead DataNode is given up after 14 s
		"dfs.heartbeat.interval":                  "1",
		"dfs.blocksize":                           "16777216", // files of several blocks, and no 128 MiB reserved for each open one
		"dfs.datanode.address":                    p.address("datanode"),
		"dfs.datanode.http.address":               p.address("datanode-http"),
		"dfs.datanode.ipc.address":                p.address("datanode-ipc"),
		"dfs.datanode.hostname":                   "127.0.0.1",
		"dfs.datanode.synconclose":                "true",
		"dfs.datanode.du.reserved":                "0",
		"dfs.client.use.datanode.hostname":        "true",
	}
}

const log4jProperties = `log4j.rootLogger=INFO,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
`

// StartHDFS starts HDFS on free ports with its data in opts.Dir and returns
// when files can be written.
func StartHDFS(ctx context.Context, opts Options) (*HDFS, error) {
	conf := filepath.Join(opts.Dir, "conf")
	// The servers want the folders of web pages that the jars do not have.
	for _, dir := range []string{"hdfs", "datanode", "secondary"} {
		if err := os.MkdirAll(filepath.Join(conf, "webapps", dir), 0o700); err != nil {
			return nil, err
		}
	}
	ports, err := choosePorts(opts.Dir, "namenode", "namenode-http", "datanode", "datanode-http", "datanode-ipc")
	if err != nil {
		return nil, err
	}
	core := map[string]string{
		"fs.defaultFS":   "hdfs://" + ports.address("namenode"),
		"hadoop.tmp.dir": filepath.Join(opts.Dir, "tmp"),
		// A DataNode asks for its NameNode again after a second, not ten.
		"ipc.client.connect.retry.interval": "500",
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(conf, "core-site.xml"), hadoopXML(core), 0o600),
		os.WriteFile(filepath.Join(conf, "hdfs-site.xml"), hadoopXML(hdfsSite(ports, opts.Dir)), 0o600),
		os.WriteFile(filepath.Join(conf, "log4j.properties"), []byte(log4jProperties), 0o600),
	); err != nil {
		return nil, err
	}
	java := func(class string, args ...string) program {
		return program{path: opts.Software.Java, args: append(append(opts.jvm("256m"),
			"--add-opens", "java.base/java.lang=ALL-UNNAMED", "--add-opens", "java.base/java.nio=ALL-UNNAMED",
			"-cp", conf+string(os.PathListSeparator)+filepath.Join(opts.Software.HDFSJars, "*"), class), args...)}
	}
	const nameNode, dataNode = "org.apache.hadoop.hdfs.server.namenode.NameNode", "org.apache.hadoop.hdfs.server.datanode.DataNode"
	h := &HDFS{
		NameNode: &Server{name: "namenode", addr: ports.address("namenode"), dir: opts.Dir, opts: opts, program: java(nameNode)},
		DataNode: &Server{name: "datanode", addr: ports.address("datanode"), dir: opts.Dir, opts: opts, program: java(dataNode)},
		nameHTTP: ports.address("namenode-http"), dataHTTP: ports.address("datanode-http"),
	}
	h.NameNode.probe, h.DataNode.probe = h.nameNodeReady, h.dataNodeReady
	if formatted, err := exists(filepath.Join(opts.Dir, "name/current/VERSION")); err != nil {
		return nil, err
	} else if !formatted {
		if err := h.NameNode.once(ctx, "format the NameNode's folder", java(nameNode, "-format", "-force", "-nonInteractive")); err != nil {
			return nil, err
		}
	}
	return h, startOrKill(ctx, h.NameNode, h.DataNode)
}

// Addr is the NameNode's, for clients.
func (h *HDFS) Addr() string { return h.NameNode.Addr() }

// Start starts both nodes and returns when files can be written.
func (h *HDFS) Start(ctx context.Context) error { return startAll(ctx, h.NameNode, h.DataNode) }

// Stop stops both nodes, the DataNode first.
func (h *HDFS) Stop() error { return each([]*Server{h.DataNode, h.NameNode}, (*Server).Stop) }

// Kill kills both nodes, the NameNode first.
func (h *HDFS) Kill() error { return each([]*Server{h.NameNode, h.DataNode}, (*Server).Kill) }

func (h *HDFS) nameNodeReady(ctx context.Context) error {
	var status struct{ State string }
	if err := jmx(ctx, h.nameHTTP, "NameNodeStatus", "NameNode", &status); err != nil {
		return err
	}
	if status.State != "active" {
		return fmt.Errorf("the NameNode is %q", status.State)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", h.NameNode.addr)
	if err != nil {
		return err
	}
	conn.Close()
	if !h.DataNode.Running() {
		return nil
	}
	return h.together(ctx)
}

func (h *HDFS) dataNodeReady(ctx context.Context) error {
	var info struct{ BPServiceActorInfo string }
	if err := jmx(ctx, h.dataHTTP, "DataNodeInfo", "DataNode", &info); err != nil {
		return err
	}
	if !h.NameNode.Running() {
		return nil
	}
	// The NameNode may believe in an earlier life of the DataNode: ask this one.
	var actors []struct{ ActorState, NamenodeHaState string }
	if err := json.Unmarshal([]byte(info.BPServiceActorInfo), &actors); err != nil {
		return err
	}
	if len(actors) == 0 || actors[0].ActorState != "RUNNING" || actors[0].NamenodeHaState != "active" {
		return fmt.Errorf("the DataNode has not registered: %s", info.BPServiceActorInfo)
	}
	return h.together(ctx)
}

// together asks the NameNode whether it has its DataNode and takes writes.
func (h *HDFS) together(ctx context.Context) error {
	var state struct {
		FSState           string
		NumLiveDataNodes  int
		CapacityRemaining int64 // unknown until the DataNode's first heartbeat
	}
	if err := jmx(ctx, h.nameHTTP, "FSNamesystemState", "NameNode", &state); err != nil {
		return err
	}
	if state.FSState != "Operational" || state.NumLiveDataNodes != 1 || state.CapacityRemaining == 0 {
		return fmt.Errorf("HDFS is %q with %d DataNodes and room for %d bytes", state.FSState, state.NumLiveDataNodes, state.CapacityRemaining)
	}
	return nil
}

// jmx reads one bean of a Hadoop server.
func jmx(ctx context.Context, addr, bean, service string, into any) error {
	u := url.URL{Scheme: "http", Host: addr, Path: "/jmx", RawQuery: "qry=Hadoop:service=" + service + ",name=" + bean}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", u.String(), resp.Status)
	}
	var answer struct{ Beans []json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("GET %s: %w", u.String(), err)
	}
	if len(answer.Beans) == 0 {
		return fmt.Errorf("GET %s: no such bean yet", u.String())
	}
	return json.Unmarshal(answer.Beans[0], into)
}

// hadoopXML writes a configuration; no value of ours needs escaping but paths may.
func hadoopXML(values map[string]string) []byte {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\"?>\n<configuration>\n")
	for name, value := range values {
		fmt.Fprintf(&b, "  <property><name>%s</name><value>%s</value></property>\n", name, escape.Replace(value))
	}
	b.WriteString("</configuration>\n")
	return []byte(b.String())
}

// Package embedded keeps all stores in one data folder: a Pebble database for
// journal, processed data, visitors, summaries and registry, and a directory
// of Avro files for the archive. Nothing has to be installed, and what was
// acknowledged survives SIGKILL and power loss.
//
// One process at a time owns a folder. Open takes its lock. Key layout and
// forms of values stand in shared/docs/formats/embedded.md.
package embedded

// Package scenario runs Footfall's semantics as stories: text files that send
// events, move the clock and expect reports, readable by anyone.
//
// A story talks to Footfall over HTTP alone, so the same files run against the
// local runner inside the test (where the clock can be moved) and, with
// -target URL, against any running system. README.md in this folder explains
// the language.
package scenario

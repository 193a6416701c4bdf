// Package revision knows what a reprocess job is: its scope, the states that it
// goes through, who asked and why, and which revisions are published at an
// instant. Function reprocess drives jobs, store.Revisions keeps them; summary
// and report ask only what is published.
package revision

// Package laws holds Footfall to what its numbers mean. Its tests send random
// events through the whole system in one process, ask random questions of
// runReport, and work each answer out once more from the events' JSON, by the
// definitions alone: slowly, with plain structs and maps, and with nothing of
// what Footfall counts with.
//
// A name of the catalog has its definition in dimensions_test.go or
// metrics_test.go; one without fails the tests.
package laws

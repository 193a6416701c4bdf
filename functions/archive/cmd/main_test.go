package main

import (
	"net/http"
	"testing"

	"github.com/footfall/footfall/shared/function/functiontest"
)

func TestMain(m *testing.M) { functiontest.Main(m, main) }

func TestStoresAway(t *testing.T) {
	functiontest.Life(t, http.StatusServiceUnavailable, `"not_ready":["hdfs"]`,
		"FOOTFALL_HDFS_NAMENODES=127.0.0.1:1", "FOOTFALL_MONGODB_URI=mongodb://127.0.0.1:1/?directConnection=true")
}

// Alone HDFS decides: what the journal is to know waits.
func TestReadyWithWhatItNeeds(t *testing.T) {
	functiontest.Life(t, http.StatusOK, `"ready":true`,
		append(functiontest.Servers(t, "FOOTFALL_HDFS_NAMENODES"), "FOOTFALL_MONGODB_URI=mongodb://127.0.0.1:1/?directConnection=true")...)
}

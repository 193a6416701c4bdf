package main

import (
	"net/http"
	"testing"

	"github.com/footfall/footfall/shared/function/functiontest"
)

func TestMain(m *testing.M) { functiontest.Main(m, main) }

func TestStoresAway(t *testing.T) {
	functiontest.Life(t, http.StatusServiceUnavailable, `"not_ready":["mongodb"]`,
		"FOOTFALL_MONGODB_URI=mongodb://127.0.0.1:1/?directConnection=true", "FOOTFALL_REDIS_ADDRS=127.0.0.1:1")
}

// Answers come from documents where Redis is away.
func TestReadyWithWhatItNeeds(t *testing.T) {
	functiontest.Life(t, http.StatusOK, `"ready":true`,
		append(functiontest.Servers(t, "FOOTFALL_MONGODB_URI"), "FOOTFALL_REDIS_ADDRS=127.0.0.1:1")...)
}

package main

import (
	"net/http"
	"testing"

	"github.com/footfall/footfall/shared/function/functiontest"
)

func TestMain(m *testing.M) { functiontest.Main(m, main) }

func TestStoresAway(t *testing.T) {
	functiontest.Life(t, http.StatusServiceUnavailable, `"not_ready":["mongodb"]`,
		"FOOTFALL_MONGODB_URI=mongodb://127.0.0.1:1/?directConnection=true")
}

func TestReadyWithWhatItNeeds(t *testing.T) {
	functiontest.Life(t, http.StatusOK, `"ready":true`, functiontest.Servers(t, "FOOTFALL_MONGODB_URI")...)
}

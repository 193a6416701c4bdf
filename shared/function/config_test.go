package function

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

type ownConfig struct {
	AdminToken Secret        `env:"ADMIN_TOKEN"`
	MaxAge     time.Duration `env:"MAX_AGE" envDefault:"20ms"`
	Store      struct {
		URI string `env:"URI"`
	} `envPrefix:"MONGODB_"`
}

func (c *ownConfig) Validate() error {
	if c.MaxAge <= 0 {
		return errors.New("FOOTFALL_MAX_AGE: expected a duration above zero")
	}
	return nil
}

func TestLoad(t *testing.T) {
	var base Config
	var own ownConfig
	err := Load([]string{"FOOTFALL_ADDR=:9", "FOOTFALL_LOG_LEVEL=debug", "FOOTFALL_MONGODB_URI=mongodb://x", "FOOTFALL_OTHER=1",
		"FOOTFALL_ADMIN_TOKEN=hush", "PORT=1234", "HOME=/"}, []string{"FOOTFALL_OTHER"}, &base, &own)
	if err != nil {
		t.Fatal(err)
	}
	if base.Addr != ":9" || base.LogLevel != slog.LevelDebug || own.MaxAge != 20*time.Millisecond ||
		own.Store.URI != "mongodb://x" || own.AdminToken.Reveal() != "hush" {
		t.Errorf("got %+v, %+v", base, own)
	}
	if d := DefaultConfig(); d.Addr != "127.0.0.1:8080" || d.Grace == 0 {
		t.Errorf("defaults: %+v", d)
	}
}

func TestLoadTakesKnativesPort(t *testing.T) {
	var base Config
	if err := Load([]string{"PORT=1234"}, nil, &base); err != nil || base.Addr != ":1234" {
		t.Errorf("got %q, %v", base.Addr, err)
	}
}

func TestLoadReportsEveryFault(t *testing.T) {
	var base Config
	var own ownConfig
	err := Load([]string{"FOOTFALL_LOG_FORMAT=xml", "FOOTFALL_GRACE=0s", "FOOTFALL_MAX_AGE=soon", "FOOTFALL_ADMIN_TOKN=hush"}, nil, &base, &own)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"FOOTFALL_LOG_FORMAT", "FOOTFALL_GRACE", "FOOTFALL_MAX_AGE", "FOOTFALL_ADMIN_TOKN: no such variable; the nearest is FOOTFALL_ADMIN_TOKEN"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "hush") {
		t.Errorf("a value is told: %v", err)
	}
}

func TestSecretNeverShows(t *testing.T) {
	c := ownConfig{AdminToken: "hush"}
	encoded, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", c.AdminToken, "config", c)
	for _, s := range []string{string(encoded), logged.String(), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.AdminToken, c.AdminToken, c.AdminToken)} {
		if strings.Contains(s, "hush") || strings.Contains(s, "68757368") {
			t.Errorf("the secret shows: %s", s)
		}
	}
}

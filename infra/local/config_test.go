package local

import (
	"strings"
	"testing"
)

func TestConfigurationsFitEachOther(t *testing.T) {
	if _, err := load(nil); err != nil {
		t.Fatal(err)
	}
	_, err := load([]string{"FOOTFALL_ARCHIVE_FILE_AGE=4h"})
	if err == nil || !strings.Contains(err.Error(), "FOOTFALL_JOURNAL_UNARCHIVED_AFTER") {
		t.Fatalf("expected an error about files that fill longer than the journal waits, got %v", err)
	}
}

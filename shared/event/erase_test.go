package event

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestErase(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 30, 0, 0, time.UTC)
	b := &Batch{
		ID: BatchID{7}, ReceivedAt: at, Instance: "i",
		Events: []Event{
			{ID: "1", Stream: "G-A", Name: "page_view", ClientID: "anna", TimeMicros: at.UnixMicro(), IP: "192.0.2.0", Extra: `{"email":"a@example.com"}`},
			{ID: "2", Stream: "G-A", Name: "page_view", ClientID: "berta", TimeMicros: at.UnixMicro()},
		},
		Refused: []Refused{{Stream: "G-A", ID: "3", Field: "name", Reason: "invalid", Detail: "a name", Data: []byte("anna")}, OverQuota("G-A", "less", 7)},
	}
	container, err := EncodeBatch(b)
	if err != nil {
		t.Fatal(err)
	}
	block, err := NewReader(bytes.NewReader(container)).NextBlock()
	if err != nil {
		t.Fatal(err)
	}
	same, err := block.Edit(func(*Batch) bool { return false })
	if err != nil || !bytes.Equal(same, block.Data) {
		t.Errorf("a block that nobody changed is another: %v", err)
	}
	edited, err := block.Edit(func(b *Batch) bool {
		b.Events[0].Erase()
		for i := range b.Refused {
			b.Refused[i].Erase()
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(append(ContainerHeader(), edited...))
	if err != nil {
		t.Fatal(err)
	}
	want := *b
	want.Events = []Event{{Stream: "G-A", TimeMicros: at.Truncate(time.Hour).UnixMicro()}, b.Events[1]}
	want.Refused = []Refused{{Stream: "G-A", Field: "name", Reason: "invalid"}, {Stream: "G-A", Field: "quota", Reason: ReasonQuota, Data: []byte("7")}}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("edited (-want +got)\n%s", diff)
	}
	if !got.Events[0].Erased() || got.Events[1].Erased() {
		t.Error("it cannot be told which event was erased")
	}
	if diff := cmp.Diff(b.Counts(), got.Counts()); diff != "" {
		t.Errorf("the ledger's counts changed\n%s", diff)
	}
}

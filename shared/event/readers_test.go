package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/linkedin/goavro/v2"
	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"
)

func TestOtherReadersOpenIt(t *testing.T) {
	file, _, ids := archiveFile(t, 3)

	t.Run("twmb", func(t *testing.T) {
		codec, err := ocf.ZstdCodec(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ocf.NewReader(bytes.NewReader(file), ocf.WithCodec(codec))
		if err != nil {
			t.Fatal(err)
		}
		for i := range ids {
			var got map[string]any
			if err := r.Decode(&got); err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%x %v", got["id"], got["events"])
			for _, want := range []string{ids[i].String(), "purchase", "19980000", "transaction_id", "https://shop.example/thanks?a=ä", "sku-1"} {
				if !strings.Contains(text, want) {
					t.Errorf("twmb/avro read %s, expected %q in it", text, want)
				}
			}
		}
	})

	t.Run("goavro", func(t *testing.T) {
		// goavro does not know the zstandard codec of files: it reads the
		// decompressed block by the schema in the header.
		codec, err := goavro.NewCodec(string(withoutDocs(schema)))
		if err != nil {
			t.Fatal(err)
		}
		_, raw, err := openBlock(file[len(ContainerHeader()):])
		if err != nil {
			t.Fatal(err)
		}
		native, rest, err := codec.NativeFromBinary(raw)
		if err != nil || len(rest) != 0 {
			t.Fatalf("goavro: %v, %d bytes left", err, len(rest))
		}
		back, err := codec.BinaryFromNative(nil, native)
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeRaw(back)
		if err != nil || len(b.Events) != 2 || b.Events[0].Items[0].PriceMicros != 9_990_000 {
			t.Fatalf("what goavro wrote reads as %+v, %v", b, err)
		}
	})

	t.Run("documented schema", func(t *testing.T) {
		documented, err := avro.Parse(Schema())
		if err != nil {
			t.Fatal(err)
		}
		plain, err := avro.Parse(string(withoutDocs(schema)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(documented.Canonical(), plain.Canonical()) {
			t.Fatal("the schema in the header is not the documented one")
		}
		if !json.Valid(withoutDocs(schema)) || bytes.Contains(withoutDocs(schema), []byte(`"doc"`)) {
			t.Fatal("the schema in the header is not plain JSON without docs")
		}
	})
}

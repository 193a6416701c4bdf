package event

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"sync"
)

//go:embed batch.avsc
var schema string

// syncMarker ends every block, here and in the archive. It never changes: it
// lets a block be copied from a batch into a file as it is.
var syncMarker = [16]byte{0x9c, 0x1f, 0x4e, 0xd3, 0x70, 0xa8, 0x05, 0xb6, 0xe1, 0x2b, 0x97, 0xf4, 0x68, 0xcd, 0x3a, 0x83}

const (
	containerMagic = "Obj\x01"
	codecName      = "zstandard"
)

// Schema is the Avro schema of a batch, with its documentation.
func Schema() string { return schema }

// ContainerHeader is the header of every batch's container and of every file
// of the archive: the same bytes for as long as the schema stays. The schema
// in it is without documentation, for a small batch carries it too. The caller
// must not write to it.
func ContainerHeader() []byte { return containerHeader() }

var containerHeader = sync.OnceValue(func() []byte {
	h := []byte(containerMagic)
	h = binary.AppendVarint(h, 2) // two metadata entries
	h = appendString(h, "avro.codec")
	h = appendString(h, codecName)
	h = appendString(h, "avro.schema")
	h = appendString(h, string(withoutDocs(schema)))
	h = append(h, 0) // end of the metadata map
	h = append(h, syncMarker[:]...)
	return h[:len(h):len(h)]
})

// withoutDocs is a schema without its "doc" members and white space, members
// in their order. The schema is part of this program: it parses.
func withoutDocs(schema string) []byte {
	d := json.NewDecoder(bytes.NewReader([]byte(schema)))
	d.UseNumber()
	var out bytes.Buffer
	writeWithoutDocs(&out, d)
	return out.Bytes()
}

// writeWithoutDocs copies the next value of d.
func writeWithoutDocs(out *bytes.Buffer, d *json.Decoder) {
	t, err := d.Token()
	if err != nil {
		panic("the embedded Avro schema does not parse: " + err.Error())
	}
	delim, nested := t.(json.Delim)
	if !nested {
		text, _ := json.Marshal(t)
		out.Write(text)
		return
	}
	out.WriteByte(byte(delim))
	first := true
	for d.More() {
		if delim == '{' {
			key, _ := d.Token()
			if key == "doc" {
				_, _ = d.Token()
				continue
			}
			if !first {
				out.WriteByte(',')
			}
			text, _ := json.Marshal(key)
			out.Write(text)
			out.WriteByte(':')
		} else if !first {
			out.WriteByte(',')
		}
		first = false
		writeWithoutDocs(out, d)
	}
	end, _ := d.Token()
	out.WriteByte(byte(end.(json.Delim)))
}

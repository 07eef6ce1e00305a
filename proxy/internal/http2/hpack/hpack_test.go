package hpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
)

// lines is a Sink that writes fields as text.
type lines struct{ strings.Builder }

func (l *lines) Field(id header.ID, name, value []byte) {
	if want := header.Lookup(string(name)); want != id {
		fmt.Fprintf(l, "(number %d, want %d) ", id, want)
	}
	fmt.Fprintf(l, "%s: %s\n", name, value)
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestExamples decodes the sequences of RFC 7541, appendix C, with the state of the table after each block.
func TestExamples(t *testing.T) {
	first := ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n"
	second := first + "cache-control: no-cache\n"
	third := ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n"
	date, cookie := "Mon, 21 Oct 2013 20:13:2", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
	answer := func(status, second string) string {
		return ":status: " + status + "\ncache-control: private\ndate: " + date + second + " GMT\nlocation: https://www.example.com\n"
	}
	for _, tt := range []struct {
		name   string
		size   uint32
		blocks []string
		want   []string
		sizes  []uint32
	}{
		{"C.3 plain requests", 4096, []string{
			"8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
			"8286 84be 5808 6e6f 2d63 6163 6865",
			"8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
		}, []string{first, second, third}, []uint32{57, 110, 164}},
		{"C.4 coded requests", 4096, []string{
			"8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
			"8286 84be 5886 a8eb 1064 9cbf",
			"8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
		}, []string{first, second, third}, []uint32{57, 110, 164}},
		{"C.6 coded responses with eviction", 256, []string{
			"3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
			"4883 640e ffc1 c0bf",
			"88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
		}, []string{
			answer("302", "1"), answer("307", "1"),
			answer("200", "2") + "content-encoding: gzip\nset-cookie: " + cookie + "\n",
		}, []uint32{222, 222, 215}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.Init(tt.size)
			for i, b := range tt.blocks {
				var got lines
				if err := d.Decode(unhex(t, b), &got); err != nil {
					t.Fatalf("block %d: %v", i, err)
				}
				if got.String() != tt.want[i] || d.table.size != tt.sizes[i] {
					t.Errorf("block %d: table of %d bytes, want %d\ngot  %q\nwant %q", i, d.table.size, tt.sizes[i], got.String(), tt.want[i])
				}
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct {
		name, block string
		want        error
	}{
		{"index 0", "80", errIndex},
		{"index beyond the tables", "be", errIndex},
		{"name index beyond the tables", "7e 01 61", errIndex},
		{"integer without an end", "ff ff ff", errTruncated},
		{"integer too large", "ff ff ff ff ff ff 01", errInteger},
		{"integer with endless zeros", "ff 80 80 80 80 80 80 00", errInteger},
		{"no value", "40 01 61", errTruncated},
		{"value cut off", "40 01 61 05 62", errTruncated},
		{"length beyond the block", "40 7f ff ff ff 7f", errTruncated},
		{"update behind a field", "82 20", errSizeUpdate},
		{"update beyond the setting", "3f e2 1f", errSizeUpdate},
		{"padding of zeros", "40 01 61 81 1c", errHuffman},
		{"padding of eight bits", "40 01 61 82 1f ff", errHuffman},
		{"EOS inside", "40 01 61 84 ff ff ff ff", errHuffman},
		{"code cut off", "40 01 61 81 fe", errHuffman},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			d.Init(4096)
			var got lines
			if err := d.Decode(unhex(t, tt.block), &got); err != tt.want {
				t.Errorf("got %v, want %v (fields %q)", err, tt.want, got.String())
			}
		})
	}
}

// TestSizeAfterSettings holds RFC 7541, 4.2: a peer whose table had to shrink says so in its next block.
func TestSizeAfterSettings(t *testing.T) {
	var d Decoder
	d.Init(100)
	var got lines
	if err := d.Decode(unhex(t, "3fe11f 82"), &got); err != nil { // 4096, before it knows
		t.Fatal(err)
	}
	d.SettingsAcked()
	if err := d.Decode(unhex(t, "82"), &got); err != errSizeMiss {
		t.Errorf("no update: %v, want %v", err, errSizeMiss)
	}
	if err := d.Decode(unhex(t, "3f45 82"), &got); err != nil { // 100
		t.Errorf("update: %v", err)
	}
	if err := d.Decode(unhex(t, "82"), &got); err != nil {
		t.Errorf("after the update: %v", err)
	}
}

type pair struct{ name, value string }

// randomBlocks makes blocks that repeat some fields and never others.
func randomBlocks(r *rand.Rand, blocks int) [][]pair {
	names := []string{":method", ":path", ":authority", ":scheme", "user-agent", "x-custom", "cookie", "authorization", "accept", "x-request-id", "grpc-status"}
	out := make([][]pair, blocks)
	for i := range out {
		for range r.IntN(12) {
			v := make([]byte, r.IntN(60))
			for j := range v {
				v[j] = byte(32 + r.IntN(224))
			}
			value := string(v)
			if r.IntN(3) > 0 {
				value = fmt.Sprint("value-", r.IntN(8))
			}
			if r.IntN(100) == 0 {
				value = strings.Repeat("long ", r.IntN(2000))
			}
			out[i] = append(out[i], pair{names[r.IntN(len(names))], value})
		}
	}
	return out
}

// TestAgainstReference sends blocks both ways between this package and golang.org/x/net's, with tables of many sizes.
func TestAgainstReference(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := []uint32{0, 64, 200, 1000, 4096, 20000}[seed%6]

		var enc Encoder
		enc.Init(65536, seed%2 == 1)
		enc.SetLimit(size)
		ref := hpack.NewDecoder(size, nil)
		ref.SetAllowedMaxDynamicTableSize(size)

		var buf bytes.Buffer
		refEnc := hpack.NewEncoder(&buf)
		refEnc.SetMaxDynamicTableSizeLimit(size)
		refEnc.SetMaxDynamicTableSize(size)
		var dec Decoder
		dec.Init(max(size, 4096))

		for _, block := range randomBlocks(r, 200) {
			var want strings.Builder
			p := enc.Begin(nil)
			buf.Reset()
			for _, f := range block {
				fmt.Fprintf(&want, "%s: %s\n", f.name, f.value)
				if r.IntN(10) == 0 {
					p = enc.AppendStateless(p, header.Lookup(f.name), []byte(f.name), []byte(f.value))
				} else {
					p = enc.Append(p, header.Lookup(f.name), []byte(f.name), []byte(f.value))
				}
				if err := refEnc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}); err != nil {
					t.Fatal(err)
				}
			}
			fields, err := ref.DecodeFull(p)
			if err != nil {
				t.Fatalf("seed %d: the reference refuses our block: %v", seed, err)
			}
			var got strings.Builder
			for _, f := range fields {
				fmt.Fprintf(&got, "%s: %s\n", f.Name, f.Value)
			}
			if got.String() != want.String() {
				t.Fatalf("seed %d: we encode\n%q\nas\n%q", seed, want.String(), got.String())
			}
			var back lines
			if err := dec.Decode(buf.Bytes(), &back); err != nil {
				t.Fatalf("seed %d: we refuse the reference's block: %v", seed, err)
			}
			if back.String() != want.String() {
				t.Fatalf("seed %d: we decode\n%q\nas\n%q", seed, want.String(), back.String())
			}
			if r.IntN(50) == 0 {
				size = uint32(r.IntN(5000))
				enc.SetLimit(size)
				ref.SetAllowedMaxDynamicTableSize(size)
			}
		}
	}
}

func TestHuffman(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		v := make([]byte, r.IntN(50))
		for i := range v {
			v[i] = byte(r.Uint32())
		}
		p := appendHuffman(nil, v)
		if want := hpack.AppendHuffmanString(nil, string(v)); !bytes.Equal(p, want) || len(p) != huffmanLen(v) {
			t.Fatalf("%x is %x, want %x", v, p, want)
		}
		if back, err := appendHuffmanDecoded(nil, p); err != nil || !bytes.Equal(back, v) {
			t.Fatalf("%x decodes to %x, %v", p, back, err)
		}
	}
}

// TestSensitive: what can be guessed piece by piece enters no table.
func TestSensitive(t *testing.T) {
	var e Encoder
	e.Init(4096, false)
	for range 3 {
		p := e.Append(nil, header.Authorization, []byte("authorization"), []byte("Bearer secret"))
		if p[0]&0xf0 != 0x10 || e.table.count != 0 {
			t.Fatalf("authorization is encoded as %x, %d entries; want a literal that is never indexed", p, e.table.count)
		}
	}
}

// request is what a browser behind a proxy sends.
var request = []pair{
	{":method", "GET"}, {":path", "/api/catalog/items?page=2"}, {":authority", "catalog.example.com"}, {":scheme", "https"},
	{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}, {"accept", "application/json"},
	{"accept-encoding", "gzip, deflate, br"}, {"x-forwarded-for", "203.0.113.7"}, {"x-forwarded-proto", "https"},
	{"x-tenant", "blue"},
}

type discard struct{ n int }

func (d *discard) Field(_ header.ID, name, value []byte) { d.n += len(name) + len(value) }

// encoded prepares the request above with a fresh request id for each of n blocks.
func encoded(n int) (blocks [][]byte) {
	var e Encoder
	e.Init(4096, false)
	for i := range n {
		p := e.Begin(nil)
		for _, f := range request {
			p = e.Append(p, header.Lookup(f.name), []byte(f.name), []byte(f.value))
		}
		blocks = append(blocks, e.Append(p, header.XRequestID, []byte("x-request-id"), fmt.Appendf(nil, "4f2c1f4e-%08d-9d1c-4fdd-8d5f8f2a3c11", i)))
	}
	return blocks
}

func TestNoAllocation(t *testing.T) {
	blocks := encoded(300)
	var d Decoder
	d.Init(4096)
	var sink discard
	decode := func(p []byte) {
		if err := d.Decode(p, &sink); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range blocks[:100] {
		decode(p)
	}
	i := 100
	if n := testing.AllocsPerRun(150, func() { decode(blocks[i]); i++ }); n != 0 {
		t.Errorf("%v allocations to decode a block", n)
	}
	var e Encoder
	e.Init(4096, false)
	type field struct {
		id          header.ID
		name, value []byte
	}
	var fields []field
	for _, f := range request {
		fields = append(fields, field{header.Lookup(f.name), []byte(f.name), []byte(f.value)})
	}
	buf := make([]byte, 0, 4096)
	encode := func() {
		p := e.Begin(buf[:0])
		for _, f := range fields {
			p = e.Append(p, f.id, f.name, f.value)
		}
	}
	encode()
	encode()
	if n := testing.AllocsPerRun(100, encode); n != 0 {
		t.Errorf("%v allocations to encode a block", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	blocks := encoded(1002)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var d Decoder
		d.Init(4096)
		var sink discard
		_ = d.Decode(blocks[0], &sink)
		_ = d.Decode(blocks[1], &sink)
		for i := 0; b.Loop(); i++ {
			_ = d.Decode(blocks[2+i%1000], &sink)
		}
	})
	b.Run("x-net", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		d := hpack.NewDecoder(4096, func(f hpack.HeaderField) { n += len(f.Name) + len(f.Value) })
		_, _ = d.Write(blocks[0])
		_, _ = d.Write(blocks[1])
		for i := 0; b.Loop(); i++ {
			_, _ = d.Write(blocks[2+i%1000])
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	id := []byte("4f2c1f4e-00000000-9d1c-4fdd-8d5f8f2a3c11")
	next := func(i int) []byte {
		for j := range 8 {
			id[9+j] = '0' + byte(i>>(4*j))&7
		}
		return id
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		var e Encoder
		e.Init(4096, false)
		names, values, ids := [][]byte{}, [][]byte{}, []header.ID{}
		for _, f := range request {
			names, values, ids = append(names, []byte(f.name)), append(values, []byte(f.value)), append(ids, header.Lookup(f.name))
		}
		buf := make([]byte, 0, 4096)
		for i := 0; b.Loop(); i++ {
			p := e.Begin(buf[:0])
			for j := range ids {
				p = e.Append(p, ids[j], names[j], values[j])
			}
			_ = e.Append(p, header.XRequestID, []byte("x-request-id"), next(i))
		}
	})
	b.Run("x-net", func(b *testing.B) {
		b.ReportAllocs()
		var buf bytes.Buffer
		e := hpack.NewEncoder(&buf)
		for i := 0; b.Loop(); i++ {
			buf.Reset()
			for _, f := range request {
				_ = e.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
			}
			_ = e.WriteField(hpack.HeaderField{Name: "x-request-id", Value: string(next(i))})
		}
	})
}

// updates counts the changes of the table's size that a block begins with.
func updates(p []byte) (n int) {
	for len(p) > 0 && p[0]&0xe0 == 0x20 {
		_, rest, err := readInt(p, 5)
		if err != nil {
			return n
		}
		p = rest
		n++
	}
	return n
}

func FuzzDecode(f *testing.F) {
	for _, p := range encoded(3) {
		f.Add(p, uint16(4096))
	}
	f.Add([]byte{0x3f, 0xe1, 0x1f, 0x40, 1, 'a', 1, 'b', 0xbe}, uint16(100))
	f.Add([]byte{0x3f, 0x30, 0x3f, 0x30, 0x40, 1, 'a', 1, 'b'}, uint16(100))
	f.Fuzz(func(t *testing.T, p []byte, size uint16) {
		// The reference must come to the same fields, or both refuse. It also refuses updates behind the first field and
		// integers that are too large, but reads longer ones than we do: those we may refuse alone. It refuses the second
		// of two updates where its table has entries, though an encoder may send two (RFC 7541, section 4.2).
		var d Decoder
		d.Init(max(uint32(size), DefaultTableSize))
		ref := hpack.NewDecoder(DefaultTableSize, nil)
		ref.SetAllowedMaxDynamicTableSize(max(uint32(size), DefaultTableSize))
		for range 2 {
			var got lines
			err := d.Decode(p, &got)
			fields, refErr := ref.DecodeFull(p)
			if err != nil {
				if refErr == nil && err != errInteger && err != errSizeUpdate {
					t.Fatalf("%x: %v; the reference takes it", p, err)
				}
				return
			}
			if refErr != nil {
				if updates(p) > 1 {
					return
				}
				t.Fatalf("%x: the reference refuses it: %v", p, refErr)
			}
			var want strings.Builder
			for _, f := range fields {
				fmt.Fprintf(&want, "%s: %s\n", f.Name, f.Value)
			}
			if got.String() != want.String() {
				t.Fatalf("%x: %q, the reference has %q", p, got.String(), want.String())
			}
		}
	})
}

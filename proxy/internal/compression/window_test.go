package compression

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// opened is the beginning of a body that asks for a window and has yet to go on.
func opened(t *testing.T, window int) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := io.WriteString(w, "some text"); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWindows: what a body asks for is known from its beginning.
func TestWindows(t *testing.T) {
	for _, size := range []int{1 << 20, 2 << 20, 8 << 20} {
		p := opened(t, size)
		for n := range p {
			if got := zstdWindow(p[:n]); got != 0 && got != size {
				t.Errorf("zstd, %d bytes: %d, want %d", n, got, size)
			}
		}
		if got := zstdWindow(p); got != size {
			t.Errorf("zstd: %d, want %d", got, size)
		}
	}
	for bits := 10; bits <= 24; bits++ {
		var b bytes.Buffer
		w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 3, LGWin: bits})
		_, _ = io.WriteString(w, strings.Repeat("some text ", 1000))
		_ = w.Flush()
		if got := brotliWindow(b.Bytes()[0]); got < 1<<bits {
			t.Errorf("brotli: %d, want %d", got, 1<<bits)
		}
		_ = w.Close()
	}
}

// TestRoom: bodies that are open find room until there is none, and give it back however they end.
func TestRoom(t *testing.T) {
	room := &Room{}
	begin := opened(t, 8<<20)
	var open []*Decoder
	for len(open) < maxRoom/(8<<20) {
		d := NewDecoder(Zstd, room)
		if err := d.Decode(begin, false, func([]byte) {}); err != nil {
			t.Fatal(err)
		}
		open = append(open, d)
	}
	late := NewDecoder(Zstd, room)
	if err := late.Decode(begin, false, func([]byte) {}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("%v", err)
	}
	late.Close()
	open[0].Close()
	again := NewDecoder(Zstd, room)
	if err := again.Decode(begin, false, func([]byte) {}); err != nil {
		t.Errorf("no room though some was given back: %v", err)
	}
	// A body that is broken, and one that is complete.
	if err := again.Decode([]byte("garbage, certainly"), true, func([]byte) {}); err == nil {
		t.Error("garbage was taken")
	}
	again.Close()
	for _, d := range open {
		d.Close()
	}
	for _, e := range []Encoding{Gzip, Brotli, Zstd} {
		for _, n := range []int{0, 1, 5, 1000} {
			d := NewDecoder(e, room)
			_ = d.Decode(bytes.Repeat([]byte{0x1f}, n), n%2 == 0, func([]byte) {})
			d.Close()
		}
	}
	if room.taken != 0 {
		t.Errorf("%d bytes were not given back", room.taken)
	}
}

// TestTooWide: a window beyond what senders may ask for is refused, and so is a frame that asks for
// more than the first one.
func TestTooWide(t *testing.T) {
	room := &Room{}
	for name, p := range map[string][]byte{"16 MiB": opened(t, 16<<20), "later": append(whole(t, 1<<20), whole(t, 4<<20)...)} {
		d := NewDecoder(Zstd, room)
		if err := d.Decode(p, true, func([]byte) {}); err == nil {
			t.Errorf("%s was taken", name)
		}
		d.Close()
	}
	var got []byte
	d := NewDecoder(Zstd, room)
	if err := d.Decode(append(whole(t, 4<<20), whole(t, 1<<20)...), true, func(p []byte) { got = append(got, p...) }); err != nil || string(got) != "some textsome text" {
		t.Errorf("%q, %v", got, err)
	}
	d.Close()
	if room.taken != 0 {
		t.Errorf("%d bytes were not given back", room.taken)
	}
}

// whole is a frame that ends, whose length was not known when it began.
func whole(t *testing.T, window int) []byte {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, "some text")
	_ = w.Flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

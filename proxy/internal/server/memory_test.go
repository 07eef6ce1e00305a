package server

import (
	"runtime"
	"testing"
	"time"
)

func TestReadOnlyMapping(t *testing.T) {
	const file = "/usr/bin/lateen-proxy"
	for _, tt := range []struct {
		line       string
		ok         bool
		start, end uintptr
	}{
		{"00400000-00f08000 r-xp 00000000 08:01 123 /usr/bin/lateen-proxy", true, 0x400000, 0xf08000},
		{"00f08000-01d5b000 r--p 00b08000 08:01 123 /usr/bin/lateen-proxy", true, 0xf08000, 0x1d5b000},
		{"01d5b000-01df6000 rw-p 0195b000 08:01 123 /usr/bin/lateen-proxy", false, 0, 0},
		{"7f9e514f4000-7f9e5164a000 r-xp 00026000 08:01 9 /usr/lib/libc.so.6", false, 0, 0},
		{"00400000-00f08000 r-xs 00000000 08:01 123 /usr/bin/lateen-proxy", false, 0, 0},
		{"Rss:                1792 kB", false, 0, 0},
		{"xyz-00f08000 r-xp 00000000 08:01 123 /usr/bin/lateen-proxy", false, 0, 0},
		{"", false, 0, 0},
	} {
		start, end, ok := readOnlyMapping(tt.line, file)
		if ok != tt.ok || start != tt.start || end != tt.end {
			t.Errorf("readOnlyMapping(%q) = %x, %x, %v", tt.line, start, end, ok)
		}
	}
}

// TestDropText drops this test's own pages: it must go on running.
func TestDropText(t *testing.T) {
	text := programText()
	if len(text) == 0 {
		t.Fatal("no read-only mapping of this program was found")
	}
	before := Resident()
	drop(text)
	if after := Resident(); after == 0 || after >= before {
		t.Errorf("%d bytes resident before, %d after", before, after)
	}
}

// A meter shows more when there is more, and its descriptor ends with it.
func TestMeter(t *testing.T) {
	m := newMeter()
	before := m.read()
	if before.all == 0 || before.program == 0 || before.program >= before.all {
		t.Errorf("%+v", before)
	}
	held := make([]byte, 32<<20)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	if after := m.read(); after.all < before.all+16<<20 {
		t.Errorf("32 MB more: %+v, before %+v", after, before)
	}
	runtime.KeepAlive(held)
	m.close()
	if after := m.read(); after.all != 0 {
		t.Errorf("closed: %+v", after)
	}
	m.close()
}

// TestNarrow narrows this test's own mappings: the same pages are mapped in more areas, and it goes on.
func TestNarrow(t *testing.T) {
	text := programText()
	narrow(text)
	var size uintptr
	for _, m := range text {
		size += m.end - m.start
	}
	narrowed := programText()
	for _, m := range narrowed {
		size -= m.end - m.start
		if m.end-m.start > narrowRange {
			t.Errorf("an area of %d bytes is left at %x", m.end-m.start, m.start)
		}
	}
	if size != 0 {
		t.Errorf("the areas' sizes differ by %d bytes in sum", int64(size))
	}
	if len(narrowed) <= len(text) {
		t.Errorf("%d areas before, %d after", len(text), len(narrowed))
	}
	drop(narrowed)
	runtime.GC() // reads the tables of functions again
}

func TestWorthTrimming(t *testing.T) {
	for _, tt := range []struct {
		all, program uint64
		since        time.Duration
		want         bool
	}{
		{12 << 20, 8 << 20, time.Hour, false},
		{16 << 20, 8 << 20, time.Second, false},
		{16 << 20, 8 << 20, trimEvery, true},
		{40 << 20, 2 << 20, time.Hour, false}, // there is nothing to give back
		{22 << 20, 8 << 20, time.Second, false},
		{22 << 20, 12 << 20, 0, false},
		{22 << 20, 12 << 20, trimWait, true},
	} {
		if got := worthTrimming(tt.all, tt.program, tt.since); got != tt.want {
			t.Errorf("%d MB resident, %d of the program, %v after the last: %v", tt.all>>20, tt.program>>20, tt.since, got)
		}
	}
}

// The collector takes more memory while it would run often, and gives it back when it does not.
func TestPace(t *testing.T) {
	var p pace
	now, cycles := time.Unix(0, 0), uint64(100)
	p.began, p.cycles = now, cycles
	for i, step := range []struct {
		after time.Duration
		ran   uint64
		want  int // 0: as it was
	}{
		{paceWindow / 2, 100, 0}, // not a window yet
		{paceWindow / 2, 0, gcPercentBusy},
		{paceCalm, 1, 0},
		{paceCalm / 2, 0, 0},
		{paceCalm / 4, 1, 0}, // calm has to begin again
		{paceCalm / 2, 0, 0},
		{paceCalm / 2, 0, gcPercent},
		{paceWindow, busyCollections - 1, 0},
		{paceWindow, busyCollections, gcPercentBusy},
		{10 * paceCalm, 0, gcPercent},
	} {
		now, cycles = now.Add(step.after), cycles+step.ran
		if got, changed := p.next(now, cycles); got != step.want || changed != (step.want != 0) {
			t.Errorf("step %d: %d, %v, want %d", i, got, changed, step.want)
		}
	}
}

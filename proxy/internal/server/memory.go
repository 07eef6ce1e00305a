package server

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Memory of a small proxy. A sidecar stands beside every application, so its resident size
// is paid once per application. Three things keep it small:
//
//   - The collector runs at GOGC=25 below a soft limit of memoryLimit, while that is cheap (pace).
//   - When start-up is over, FreeOSMemory gives back what parsing the first configuration
//     needed once.
//   - The program's text and read-only data are pages of its file. Start-up touches many that
//     serving never needs (descriptors of all protos, initialisers); Footprint drops them at
//     the start, when the start is over, and while there are many. They are clean, so the kernel
//     maps those that are needed again, from its page cache; narrow has it map few around each.
const memoryLimit = 64 << 20

// Footprint keeps a process small while it serves. A process has at most one.
type Footprint struct {
	text []mapping
}

// NewFootprint sets the collector up, where GOGC and GOMEMLIMIT in the environment do not, and
// gives back what initialising the program touched of its file. It is for the very start.
func NewFootprint() *Footprint {
	if ownCollector() {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft limit: beyond it the collector works harder, nothing fails. Large meshes need
		// more; the collector's share of the CPU is bounded by the runtime.
		debug.SetMemoryLimit(memoryLimit)
	}
	f := &Footprint{text: programText()}
	narrow(f.text)
	drop(f.text)
	return f
}

// SetProcs gives the scheduler room beside the workers: each worker keeps a P while it waits
// in the raw epoll_wait, so one more at least must be there for everything else.
func SetProcs(workers int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < workers+1 {
		runtime.GOMAXPROCS(workers + 1)
	}
}

const (
	// look is how often the memory is looked at, which with its wake-up costs 30 us. Dropping the program's pages costs page
	// faults: what serving needs comes back, 2 MB at once and 8 over time, 4 ms of CPU. So in a process above trimAbove it
	// is done once in trimEvery, for what is not needed any more, and after trimWait where more than
	// trimSoon of them are there: handshakes and collections (which read 2 MB of tables) touch as many within
	// milliseconds, serving does not, and a sidecar is to stay below 25 MB.
	look      = 100 * time.Millisecond
	trimEvery = 10 * time.Second
	trimAbove = 14 << 20
	trimFrom  = 3 << 20
	trimWait  = 250 * time.Millisecond
	trimSoon  = 9 << 20
	// idleHeap is how much of the heap may lie idle. The runtime gives it back too, minutes after it grew
	// and to within a tenth of its goal: 4 MB too much for a sidecar that has had a thousand changes.
	// A collection and what it touches cost 10 ms, and serving does not make the heap grow. Some of it cannot be given back:
	// only idleMore above what the last time left is worth another.
	idleHeap = 3 << 19
	idleMore = 1 << 19
	freeWait = 2 * time.Second
	// freeAfter is how long after the start the heap is given back once more, when the first
	// connections have been served.
	freeAfter = 4 * time.Second
)

// keep gives memory back until done is closed. It begins when the start is over.
func (f *Footprint) keep(done <-chan struct{}) {
	f.free()
	m := newMeter()
	defer m.close()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	again := time.NewTimer(freeAfter)
	defer again.Stop()
	is, freed := m.read(), time.Now()
	trimmed, left := freed, is.free
	collector := pace{began: freed, cycles: is.collections}
	paced := ownCollector()
	for {
		select {
		case <-done:
			return
		case <-again.C:
			f.free()
			left = m.read().free
		case now := <-ticker.C:
			is = m.read()
			if paced {
				if percent, changed := collector.next(now, is.collections); changed {
					debug.SetGCPercent(percent)
				}
			}
			switch {
			case now.Sub(freed) >= freeWait && is.free > max(idleHeap, left+idleMore):
				f.free()
				freed, trimmed, left = now, now, m.read().free
			case worthTrimming(is.all, is.program, now.Sub(trimmed)):
				drop(f.text)
				trimmed = now
			}
		}
	}
}

// worthTrimming decides by the resident size, how much of it are pages of the program, and the time since the last trimming.
func worthTrimming(all, program uint64, since time.Duration) bool {
	return program > trimSoon && since >= trimWait || all > trimAbove && program > trimFrom && since >= trimEvery
}

// free gives back all that nobody uses now.
func (f *Footprint) free() {
	// The collection reads tables of the program; they are not to come on top of what is there.
	drop(f.text)
	debug.FreeOSMemory()
	drop(f.text)
}

// mapping is a range of addresses.
type mapping struct{ start, end uintptr }

// programText finds this program's read-only file mappings, which stay the same while it runs. A
// mapping with anonymous pages is left out: it was written before it became read-only (relocations
// of a dynamically linked build), and the file does not hold what is in memory. What cannot be
// read leaves the list empty: the pages then stay.
func programText() []mapping {
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	var list []mapping
	var m mapping
	ok := false
	for raw := range bytes.Lines(smaps) {
		line := string(raw)
		if kb, found := strings.CutPrefix(line, "Anonymous:"); found {
			if ok && strings.Fields(kb)[0] == "0" {
				list = append(list, m)
			}
			ok = false
			continue
		}
		if start, end, match := readOnlyMapping(line, self); match {
			m, ok = mapping{start, end}, true
		}
	}
	return list
}

// drop gives the resident pages of mappings back. Failure is of no consequence: they stay.
func drop(list []mapping) {
	for _, m := range list {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.start, m.end-m.start, syscall.MADV_DONTNEED)
	}
}

// narrowRange is how much of the file the kernel maps at most for a touched page. `lateen` becomes
// 6,000 areas, 1.2 MB in the kernel; a sidecar that receives and calls under load has 22 MB, with
// 16 KB 25, with the kernel's 64 KB 30.
const narrowRange = 8 << 10

// narrow keeps the kernel from mapping 64 KB of the file for each touched page. It maps around a fault
// within one area of memory only (do_fault_around in mm/memory.c), and neighbours are separate areas
// when their advice differs; so every other range is advised of random access, which for pages that
// are in the page cache changes nothing else.
func narrow(list []mapping) {
	for _, m := range list {
		for at := m.start; at < m.end; at += 2 * narrowRange {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, at, min(narrowRange, m.end-at), syscall.MADV_RANDOM)
		}
	}
}

// readOnlyMapping reads a heading of /proc/self/smaps and reports whether it is a private,
// never-written mapping of the file.
func readOnlyMapping(line, file string) (start, end uintptr, ok bool) {
	f := strings.Fields(line)
	if len(f) < 6 || f[5] != file || len(f[1]) != 4 || f[1][0] != 'r' || f[1][1] != '-' || f[1][3] != 'p' {
		return 0, 0, false
	}
	a, b, found := strings.Cut(f[0], "-")
	s, err1 := strconv.ParseUint(a, 16, int(unsafe.Sizeof(start))*8)
	e, err2 := strconv.ParseUint(b, 16, int(unsafe.Sizeof(end))*8)
	if !found || err1 != nil || err2 != nil || e <= s {
		return 0, 0, false
	}
	return uintptr(s), uintptr(e), true
}

package server

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Memory of a small proxy. A sidecar stands beside every application, so its resident size
// is paid once per application. Three things keep it small:
//
//   - The collector runs at GOGC=50 below a soft limit of memoryLimit. The live heap of a
//     sidecar is a few megabytes and the request path allocates nothing, so collections stay
//     rare; what GOGC=100 would save in them is less than what it costs in resident memory.
//   - When start-up is over, FreeOSMemory gives back what parsing the first configuration
//     needed once.
//   - The program's text and read-only data are pages of its file. Start-up touches many that
//     serving never needs (descriptors of all protos, initialisers), and the kernel maps 16
//     around each; keepSmall drops the resident ones, at the end of the start, while the first clients
//     connect, after collections and every few seconds while there is much. They are clean, so the
//     kernel maps those that are needed again, from its page cache.
const (
	gcPercent   = 50
	memoryLimit = 64 << 20
)

// SetMemoryPolicy sets the collector up. GOGC and GOMEMLIMIT in the environment win.
func SetMemoryPolicy() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// A soft limit: beyond it the collector works harder, nothing fails. Large meshes need
		// more; the collector's share of the CPU is bounded by the runtime.
		debug.SetMemoryLimit(memoryLimit)
	}
}

// SetProcs gives the scheduler room beside the workers: each worker keeps a P while it waits
// in the raw epoll_wait, so one more at least must be there for everything else.
func SetProcs(workers int) {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) < workers+1 {
		runtime.GOMAXPROCS(workers + 1)
	}
}

const (
	// trimLook is how often it is asked whether there was a collection, and trimEvery how many of
	// these apart the resident size is looked at in any case.
	trimLook  = 200 * time.Millisecond
	trimEvery = 10
	// trimAbove is the resident size from which trimming is worth its page faults: some 100
	// bring back what serving needs, 16 pages each, a tenth of a millisecond of CPU. A proxy
	// that serves has some 3 MB of text and 10 MB of its own.
	trimAbove = 13 << 20

	// The first connections after a quiet time run through all of the handshake, the filters and
	// the first collection: 11 MB of text within 30 milliseconds. So after the start and after
	// such a connection there are burstLooks looks, burstLook apart, each of which drops what is
	// more than burstAbove; and burstRest must lie between two that clients cause. Looking every 2 ms made the
	// peak little lower, and cost 10 ms of CPU each time.
	burstLook  = 100 * time.Millisecond
	burstLooks = 4
	burstAbove = 8 << 20
	burstRest  = time.Minute
	// freeAfter is how long after the start the heap is given back once more, when the first
	// connections have been served.
	freeAfter = 4 * time.Second
)

// keepSmall gives memory back until done is closed. connected, of capacity 1, holds a value when a
// client has connected since it was last received from.
func keepSmall(done, connected <-chan struct{}) {
	text := programText()
	debug.FreeOSMemory()
	drop(text)
	look := time.NewTicker(burstLook)
	defer look.Stop()
	free := time.NewTimer(freeAfter)
	defer free.Stop()
	looks := burstLooks
	var began time.Time // the last burst that a client has caused
	// wake is connected where a burst may begin. At other times nobody receives, so that a
	// connection finds the channel full, which costs it next to nothing.
	var wake <-chan struct{}
	seen := collections()
	for n := 1; ; n++ {
		select {
		case <-done:
			return
		case <-free.C:
			debug.FreeOSMemory()
			drop(text)
			continue
		case <-wake:
			began, looks, wake = time.Now(), burstLooks, nil
			look.Reset(burstLook)
			continue
		case <-look.C:
		}
		if looks > 0 {
			if residentFile() > burstAbove {
				drop(text)
			}
			if looks--; looks == 0 {
				look.Reset(trimLook)
			}
			continue
		}
		if wake == nil && time.Since(began) > burstRest {
			select {
			case <-connected: // of long ago
			default:
			}
			wake = connected
		}
		// A collection reads the tables of every function on every goroutine's stack, from all
		// over the read-only data: 9 MB of it in `lateen`'s sidecars. So the time to trim is after
		// each one.
		now := collections()
		if (now != seen || n%trimEvery == 0) && Resident() > trimAbove {
			drop(text)
		}
		seen = now
	}
}

// collections is how many the runtime has completed.
func collections() uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
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

// Resident returns the process's resident memory in bytes, 0 when it cannot be read.
func Resident() uint64 { return statm(1) }

// residentFile is how much of it are pages of files, in bytes.
func residentFile() uint64 { return statm(2) }

// statm reads a field of /proc/self/statm (proc(5)) in bytes, 0 when it cannot be read.
func statm(field int) uint64 {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(raw))
	if len(f) <= field {
		return 0
	}
	pages, err := strconv.ParseUint(f[field], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

package server

import (
	"bytes"
	"os"
	"runtime/metrics"
	"strconv"
	"syscall"
)

// meter reads how much memory the process has. It keeps its file open, since it is asked ten times a second.
type meter struct {
	statm   int // descriptor of /proc/self/statm; -1: there is none
	samples [2]metrics.Sample
}

// reading is what a meter shows, in bytes; what cannot be read is 0.
type reading struct {
	all         uint64 // resident
	program     uint64 // of it, pages of files: the program's
	free        uint64 // of the heap, resident with no object in it
	collections uint64 // since the program began, without those that were asked for
}

func newMeter() *meter {
	m := &meter{samples: [2]metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/gc/cycles/automatic:gc-cycles"}}}
	var err error
	if m.statm, err = syscall.Open("/proc/self/statm", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err != nil {
		m.statm = -1
	}
	return m
}

func (m *meter) close() {
	if m.statm >= 0 {
		_ = syscall.Close(m.statm)
		m.statm = -1
	}
}

func (m *meter) read() (r reading) {
	r.all, r.program = m.resident()
	metrics.Read(m.samples[:])
	r.free, r.collections = number(&m.samples[0]), number(&m.samples[1])
	return r
}

func number(s *metrics.Sample) uint64 {
	if s.Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s.Value.Uint64()
}

// resident reads the second and third number of statm, which are pages (proc(5)).
func (m *meter) resident() (all, program uint64) {
	if m.statm < 0 {
		return 0, 0
	}
	var buf [128]byte
	n, err := syscall.Pread(m.statm, buf[:], 0)
	if err != nil {
		return 0, 0
	}
	f := bytes.Fields(buf[:n])
	if len(f) < 3 {
		return 0, 0
	}
	page := uint64(os.Getpagesize())
	all, err1 := strconv.ParseUint(string(f[1]), 10, 64)
	program, err2 := strconv.ParseUint(string(f[2]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return all * page, program * page
}

// Resident returns the process's resident memory in bytes, 0 when it cannot be read.
func Resident() uint64 {
	m := newMeter()
	defer m.close()
	all, _ := m.resident()
	return all
}

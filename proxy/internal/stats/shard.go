package stats

// pageBits is the size of a page: 64 slots, so that one word tells which were written.
const pageBits = 6

type page struct {
	v    [1 << pageBits]uint64
	used uint64 // bit per slot written as a gauge; a counter that is not zero is used
}

// Shard is one writer's numbers: plain memory, one goroutine.
type Shard struct {
	pages []*page
	hists []*hist
}

// Add adds n to a counter.
func (s *Shard) Add(c Counter, n uint64) {
	if p := int(c >> pageBits); p < len(s.pages) {
		if pg := s.pages[p]; pg != nil {
			pg.v[c&(1<<pageBits-1)] += n
			return
		}
	}
	s.page(uint32(c)).v[c&(1<<pageBits-1)] += n
}

// Inc adds one to a counter.
func (s *Shard) Inc(c Counter) { s.Add(c, 1) }

// GaugeAdd changes a gauge by d. The gauge's value is the sum over all shards, so a
// connection may be counted in one shard and uncounted in another.
func (s *Shard) GaugeAdd(g Gauge, d int64) {
	pg := s.page(uint32(g))
	i := g & (1<<pageBits - 1)
	pg.v[i] += uint64(d)
	pg.used |= 1 << i
}

// GaugeSet sets this shard's part of a gauge.
func (s *Shard) GaugeSet(g Gauge, v int64) {
	pg := s.page(uint32(g))
	i := g & (1<<pageBits - 1)
	pg.v[i] = uint64(v)
	pg.used |= 1 << i
}

// Record adds a value to a histogram. Units are the name's: milliseconds for "_time".
func (s *Shard) Record(h Histogram, v uint64) {
	if int(h) >= len(s.hists) {
		s.hists = append(s.hists, make([]*hist, int(h)+1-len(s.hists))...)
	}
	x := s.hists[h]
	if x == nil {
		x = &hist{}
		s.hists[h] = x
	}
	x.record(v)
}

func (s *Shard) page(slot uint32) *page {
	p := int(slot >> pageBits)
	if p >= len(s.pages) {
		s.pages = append(s.pages, make([]*page, p+1-len(s.pages))...)
	}
	if s.pages[p] == nil {
		s.pages[p] = &page{}
	}
	return s.pages[p]
}

// addTo sums the shard into another one.
func (s *Shard) addTo(t *Shard) {
	for p, pg := range s.pages {
		if pg == nil {
			continue
		}
		to := t.page(uint32(p) << pageBits)
		for i, v := range pg.v {
			to.v[i] += v
		}
		to.used |= pg.used
	}
	s.addHistogramsTo(t)
}

func (s *Shard) value(slot uint32) (v uint64, used bool) {
	p := int(slot >> pageBits)
	if p >= len(s.pages) || s.pages[p] == nil {
		return 0, false
	}
	i := slot & (1<<pageBits - 1)
	v = s.pages[p].v[i]
	return v, v != 0 || s.pages[p].used&(1<<i) != 0
}

func (s *Shard) histogram(i uint32) *hist {
	if int(i) >= len(s.hists) {
		return nil
	}
	return s.hists[i]
}

package tap

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	configv3 "github.com/envoyproxy/go-control-plane/envoy/config/tap/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/tap/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/proxy/internal/export"
	"github.com/lateen-mesh/lateen/proxy/internal/stats"
)

// Bounds of what waits for the disk.
const (
	maxWaiting = 1000
	interval   = time.Second // at most, before it is written
)

// Writer writes the traces of an output to its files, on a goroutine of its own. What comes faster
// than the disk takes it is dropped and counted, beyond a bound of 3 MiB.
type Writer struct {
	out   Output
	log   *slog.Logger
	queue *export.Queue[record]
	main  stats.Main

	completed, failed, dropped stats.Counter
	failing                    bool // the last write failed; logged once
}

// record is one message of a trace.
type record struct {
	id   uint64
	wrap *datav3.TraceWrapper
}

// NewWriter returns a writer; nothing reaches a disk before Run.
func NewWriter(out Output, workers int, store *stats.Store, log *slog.Logger) *Writer {
	s := store.Scope("filesystem")
	return &Writer{
		out: out, log: log, queue: export.NewQueue[record](workers, maxWaiting, 1), main: store.Main(),
		completed: s.Counter("write_completed"), failed: s.Counter("write_failed"), dropped: s.Counter("write_dropped"),
	}
}

// add takes a message. It is called on a worker's loop, and does not block.
func (w *Writer) add(worker int, r record) { w.queue.Add(worker, r, proto.Size(r.wrap)) }

// Run writes until ctx ends, and then what is left.
func (w *Writer) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.flush()
			return
		case <-w.queue.Full():
		case <-tick.C:
		}
		w.flush()
	}
}

func (w *Writer) flush() {
	records, dropped := w.queue.Take()
	w.main.Add(w.dropped, dropped)
	for i := range records {
		if err := w.write(&records[i]); err != nil {
			w.main.Inc(w.failed)
			if !w.failing {
				w.log.Warn("a trace cannot be written; further ones are only counted", "error", err)
			}
			w.failing = true
			continue
		}
		w.failing = false
		w.main.Inc(w.completed)
	}
}

// write appends a message to its trace's file.
func (w *Writer) write(r *record) error {
	b, suffix, err := encode(w.out.Format, r.wrap)
	if err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	f, err := os.OpenFile(w.out.Prefix+"_"+strconv.FormatUint(r.id, 10)+suffix, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	if _, err = f.Write(b); err != nil {
		f.Close()
		return fmt.Errorf("tap: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return nil
}

// encode writes a message in a format, and says how the names of such files end.
func encode(f Format, m *datav3.TraceWrapper) (b []byte, suffix string, err error) {
	json := protojson.MarshalOptions{Multiline: true, Indent: " ", UseProtoNames: true, EmitDefaultValues: true}
	switch f {
	case configv3.OutputSink_JSON_BODY_AS_STRING:
		textBodies(m)
		fallthrough
	case configv3.OutputSink_JSON_BODY_AS_BYTES:
		b, err = json.Marshal(m)
		return append(b, '\n'), ".json", err
	case configv3.OutputSink_PROTO_BINARY:
		b, err = proto.Marshal(m)
		return b, ".pb", err
	case configv3.OutputSink_PROTO_BINARY_LENGTH_DELIMITED:
		b, err = proto.MarshalOptions{}.MarshalAppend(protowire.AppendVarint(nil, uint64(proto.Size(m))), m)
		return b, ".pb_length_delimited", err
	case configv3.OutputSink_PROTO_TEXT:
		b, err = prototext.MarshalOptions{Multiline: true}.Marshal(m)
		return b, ".pb_text", err
	}
	return nil, "", fmt.Errorf("format %v is not known", f)
}

// textBodies makes bodies text, for people who read them.
func textBodies(m *datav3.TraceWrapper) {
	t, s := m.GetHttpBufferedTrace(), m.GetHttpStreamedTraceSegment()
	for _, b := range []*datav3.Body{t.GetRequest().GetBody(), t.GetResponse().GetBody(), s.GetRequestBodyChunk(), s.GetResponseBodyChunk()} {
		if b != nil {
			b.BodyType = &datav3.Body_AsString{AsString: strings.ToValidUTF8(string(b.GetAsBytes()), "\uFFFD")}
		}
	}
}

package accesslog

import (
	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Sink takes the entries that pass a logger's filter.
type Sink interface {
	// Log is called on the worker of that number. It must not block, and not keep c.
	Log(worker int, c *format.Context)
	// Close gives the sink back; no entry comes any more.
	Close()
}

// fileSink prints lines into a file.
type fileSink struct {
	file    *File
	text    *format.Formatter
	omit    bool
	json    *format.JSON
	scratch [][]byte // by worker
}

func newFileSink(cfg *xdsresource.AccessLog, files *Files, workers int) (*fileSink, error) {
	l := &fileSink{scratch: make([][]byte, workers), omit: cfg.OmitEmptyValues}
	var err error
	if cfg.JSON != nil {
		if l.json, err = format.CompileJSON(cfg.JSON, cfg.TypedJSON, cfg.OmitEmptyValues); err != nil {
			return nil, err
		}
	} else {
		text := cfg.Text
		if text == "" {
			text = EnvoyFormat
		}
		if l.text, err = format.Compile(text); err != nil {
			return nil, err
		}
	}
	l.file, err = files.Open(cfg.Path)
	return l, err
}

// Log implements Sink.
func (l *fileSink) Log(worker int, c *format.Context) {
	b := l.scratch[worker][:0]
	switch {
	case l.json != nil:
		b = append(l.json.Append(b, c), '\n')
	case l.omit:
		b = l.text.AppendOrEmpty(b, c)
	default:
		b = l.text.Append(b, c)
	}
	l.scratch[worker] = b
	l.file.Write(b)
}

// Close implements Sink.
func (l *fileSink) Close() { l.file.Close() }

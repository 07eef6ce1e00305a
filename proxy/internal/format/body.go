package format

import "github.com/lateen-mesh/lateen/proxy/internal/xdsresource"

// Body is the compiled format of an answer of our own.
type Body struct {
	// ContentType is what the answer is then.
	ContentType string

	text *Formatter
	json *JSON
	omit bool
}

// CompileBody compiles a body's format; nil for nil.
func CompileBody(cfg *xdsresource.BodyFormat) (*Body, error) {
	if cfg == nil {
		return nil, nil
	}
	b := &Body{ContentType: cfg.ContentType, omit: cfg.OmitEmpty}
	var err error
	if cfg.JSON != nil {
		b.json, err = CompileJSON(cfg.JSON, true, cfg.OmitEmpty)
	} else {
		b.text, err = Compile(cfg.Text)
	}
	return b, err
}

// Append formats a body; c.LocalReply is the one without a format. JSON is a line, as in Envoy.
func (b *Body) Append(dst []byte, c *Context) []byte {
	switch {
	case b.json != nil:
		return append(b.json.Append(dst, c), '\n')
	case b.omit:
		return b.text.AppendOrEmpty(dst, c)
	}
	return b.text.Append(dst, c)
}

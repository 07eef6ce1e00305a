package cel

import (
	"strings"
	"testing"
	"time"
)

// FuzzExpression: whatever the text, compiling and evaluating it end soon, and without a panic: the library turns one into
// an error, which would name itself.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		"request.path == '/x' ? 'y' : response.code + 1", "request.headers['x-a'].matches('^[a-z]+$')", "has(metadata.filter_metadata.a)",
		"'a,b'.split(',').join(request.path).replace('a', 'b', 2)", "re.captureN(request.path, '(?P<a>.)(.*)')", "duration('1h').getMilliseconds()",
		"{'a': [1, 2u, 3.5, null, b'x']}['a'][1] in [2u]", "string(timestamp(request.time)) + 'x'", "type(1) == int && !(1 in {1: 2})", "-(-1) % 0",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := stream(t)
		begin := time.Now()
		e, err := Compile(text)
		if err != nil {
			return
		}
		if v, ok := e.Eval(s); ok {
			out := v.AppendText(nil)
			out, _ = v.AppendJSON(out, quote)
			if len(out) > 64<<20 {
				t.Errorf("%d bytes", len(out))
			}
		}
		if e.internal(s) {
			t.Error("a panic")
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// internal reports whether an evaluation has panicked.
func (e *Expression) internal(s *Stream) bool {
	_, err := e.compiled.Eval(&activation{s})
	return err != nil && strings.HasPrefix(err.Error(), "internal error")
}

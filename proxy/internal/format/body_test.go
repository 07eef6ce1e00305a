package format

import (
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

func TestBody(t *testing.T) {
	h := &header.Map{}
	h.AddString(header.Path, `/"x"`)
	c := &Context{Request: h, Info: &streaminfo.Info{ResponseCode: 503}, LocalReply: []byte("sorry\n")}
	f := func(cfg *xdsresource.BodyFormat, want string) {
		t.Helper()
		b, err := CompileBody(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.Append([]byte("-"), c)); got != "-"+want {
			t.Errorf("%q, want %q", got[1:], want)
		}
	}
	f(&xdsresource.BodyFormat{}, "")
	f(&xdsresource.BodyFormat{Text: "%RESPONSE_CODE% %REQ(x)% %LOCAL_REPLY_BODY%"}, "503 - sorry\n")
	f(&xdsresource.BodyFormat{Text: "%RESPONSE_CODE% %REQ(x)%.", OmitEmpty: true}, "503 .")
	f(&xdsresource.BodyFormat{JSON: map[string]any{"b": "%LOCAL_REPLY_BODY%", "a": "%REQ(:path)%", "n": "%RESPONSE_CODE%", "x": "%REQ(x)%"}},
		`{"a":"/\"x\"","b":"sorry\n","n":503,"x":null}`+"\n")
	f(&xdsresource.BodyFormat{JSON: map[string]any{"x": "%REQ(x)%"}, OmitEmpty: true}, "{}\n")
	if b, err := CompileBody(nil); b != nil || err != nil {
		t.Error(b, err)
	}
	for _, cfg := range []*xdsresource.BodyFormat{{Text: "%NO_SUCH%"}, {JSON: map[string]any{"a": []any{"%NO_SUCH%"}}}} {
		if _, err := CompileBody(cfg); err == nil {
			t.Errorf("%+v compiles", cfg)
		}
	}
}

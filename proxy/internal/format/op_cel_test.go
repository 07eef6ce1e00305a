package format

import (
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/streaminfo"
)

func TestExpressions(t *testing.T) {
	c := &Context{Request: &header.Map{}, Info: &streaminfo.Info{ResponseCode: 404}}
	c.Request.AddString(header.Path, "/a(b)%c")
	c.Info.SetMetadata("f", "k", "two\r\nlines")
	for in, want := range map[string]string{
		"%CEL(request.path)%":                                       "/a(b)%c",
		"%CEL(request.path):3%":                                     "/a(",
		"<%TYPED_CEL(response.code)% %CEL(request.nope)%>":          "<404 ->",
		"%CEL(request.path == '(' ? 'a' : 'b')%":                    "b",
		"%CEL(response.code % 5)%%CEL(request.path.contains('%'))%": "4true",
		"%CEL(metadata.filter_metadata.f.k)%":                       "two%0D%0Alines",
	} {
		if got := string(mustCompile(t, in).Append(nil, c)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string][3]string{ // typed, typed without what is empty, untyped
		"%CEL(response.code)%":                    {`{"k":"404"}`, `{"k":"404"}`, `{"k":"404"}`},
		"%TYPED_CEL(response.code)%":              {`{"k":404}`, `{"k":404}`, `{"k":"404"}`},
		"%TYPED_CEL(response.code)% ":             {`{"k":"404 "}`, `{"k":"404 "}`, `{"k":"404 "}`},
		"%TYPED_CEL(request.nope)%":               {`{"k":null}`, `{}`, `{"k":"-"}`},
		"%TYPED_CEL(null)%":                       {`{"k":null}`, `{}`, `{"k":"NULL"}`},
		"%TYPED_CEL(request)%":                    {`{"k":null}`, `{}`, `{"k":"CelMap value"}`},
		"%TYPED_CEL(request.path):3%":             {`{"k":"/a("}`, `{"k":"/a("}`, `{"k":"/a("}`},
		"%TYPED_CEL([1, 'a'])%":                   {`{"k":[1,"a"]}`, `{"k":[1,"a"]}`, `{"k":"CelList value"}`},
		"%TYPED_CEL(metadata.filter_metadata.f)%": {`{"k":{"k":"two\r\nlines"}}`, `{"k":{"k":"two\r\nlines"}}`, `{"k":"CelMap value"}`},
		"%CEL(metadata.filter_metadata.f.k)%":     {`{"k":"two\r\nlines"}`, `{"k":"two\r\nlines"}`, `{"k":"two\r\nlines"}`},
	} {
		for i, o := range [][2]bool{{true, false}, {true, true}, {false, false}} {
			j, err := CompileJSON(map[string]any{"k": in}, o[0], o[1])
			if err != nil {
				t.Fatal(err)
			}
			if got := string(j.Append(nil, c)); got != want[i] {
				t.Errorf("%s, typed %v, without what is empty %v: %s, want %s", in, o[0], o[1], got, want[i])
			}
		}
	}
	for _, in := range []string{"%CEL%", "%CEL()%", "%CEL(request.)%", "%TYPED_CEL(nofunc())%", "%CEL(a"} {
		if _, err := Compile(in); err == nil {
			t.Errorf("%s is taken", in)
		}
	}
}

package pathtemplate

import (
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	f := func(pattern, path string, want bool) {
		t.Helper()
		p, err := Compile(pattern)
		if err != nil {
			t.Error(err)
			return
		}
		if got := p.Match([]byte(path)); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, path, got, want)
		}
	}
	f("/", "/", true)
	f("/", "/a", false)
	f("/a/b", "/a/b", true)
	f("/a/b", "/a/b/", false)
	f("/a/b/", "/a/b/", true)
	f("/a.b", "/aXb", false)
	f("/a(b)$+", "/a(b)$+", true)
	f("/*", "/a", true)
	f("/*", "/", false)
	f("/*", "/a/b", false)
	f("/*", "/a=b*", true)
	f("/*", "/a^b", false)
	f("/a/*/c", "/a/%20~/c", true)
	f("/a/**", "/a/", true)
	f("/a/**", "/a", false)
	f("/a/**", "/a/b/c/", true)
	f("/**.mpd", "/content/123/manifest.mpd", true)
	f("/**.mpd", "/content/123/manifest.m4s", false)
	f("/*.m4s", "/x.m4s", true)
	f("/*.m4s", "/.m4s", false)
	f("/*.m4s", "/a/x.m4s", false)
	f("/videos/{file}", "/videos/1080p", true)
	f("/videos/{file}", "/videos/a/b", false)
	f("/{a=x/*}/{b=**}", "/x/1/", true)
	f("/{a=x/*}/{b=**}", "/y/1/", false)
	f("/{a=**}.json", "/x/y.json", true)
	f("/{a}.json", "/x.json", true)
	f("/x{a}.json/y", "/xz.json/y", true)
	f("/x{a}.json/y", "/x.json/y", false)
	f("/{a}.json/y", "/z.json/y", true)
	f("/fn('{id}')", "/fn('7')", true)
	f("/x{a=**}y/z", "/x1/2y/z", true)
	f("/a/**/b", "/a/c/d/b", true)
	f("/a/**/b", "/a/c/d/c", false)
}

func TestRefused(t *testing.T) {
	f := func(pattern, why string) {
		t.Helper()
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", pattern, err, why)
		}
	}
	f("", "slash")
	f("a", "slash")
	f("//", "empty segment")
	f("/a//b", "empty segment")
	f("/a b", "character at 2")
	f("/ä", "character at 1")
	f("/a^b", `'^'`)
	f("/a*", "star")
	f("/***", "star")
	f("/{a=b*}", "star")
	f("/{a}*", "star")
	f("/a}b", `'}'`)
	f("/*{a}", `'{'`)
	f("/{a}{b}", `'{'`)
	f("/x{a}y{b}", `'{'`)
	f("/x{a=b/c}", "within its segment")
	f("/x{a", "within its segment")
	f("/*a/b", "must be the end")
	f("/**/*", "nothing that varies")
	f("/**/{a}", "nothing that varies")
	f("/{a=**/*}", "nothing that varies")
	f("/{a", "closing brace")
	f("/{}", "variable name")
	f("/{1a}", "variable name")
	f("/{a-b}", "variable name")
	f("/{abcdefghijklmnopq}", "variable name")
	f("/{a=}", "empty part")
	f("/{a=b/}", "empty part")
	f("/{a=b//c}", "empty segment")
	f("/{a=*b}", "whole segment")
	f("/{a={b}}", `'{'`)
	f("/{a=***}", "whole segment")
	f("/*a*", "star")
	f("/{a}/{a}", "stands twice")
	f("/{a}/{b}/{c}/{d}/{e}/{f}", "more than 5")
	f("/{a}}", `'}'`)
}

func TestRewrite(t *testing.T) {
	f := func(pattern, rewrite, path, want string) {
		t.Helper()
		p, err := Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		r, err := CompileRewrite(rewrite, p)
		if err != nil {
			if !strings.HasPrefix(want, "error: ") || !strings.Contains(err.Error(), want[7:]) {
				t.Errorf("%q, %q: %v", pattern, rewrite, err)
			}
			return
		}
		got, ok := r.Append([]byte("-"), []byte(path))
		if !ok {
			got = []byte("-none")
		}
		if string(got) != "-"+want {
			t.Errorf("%q, %q of %q is %q, want %q", pattern, rewrite, path, got[1:], want)
		}
	}
	f("/a/{b}/{c=**}", "/{c}/x-{b}.{b}", "/a/1/2/3", "/2/3/x-1.1")
	f("/a/{b}", "/", "/a/1", "/")
	f("/a/{b}", "/{b}", "/b/1", "none")
	f("/{a=x/*}", "/y/{a}", "/x/1", "/y/x/1")
	f("/{a}", "{a}", "/x", "error: slash")
	f("/{a}", "/x//{a}", "/x", "error: two slashes")
	f("/{a}", "/{b}", "/x", `error: no variable "b"`)
	f("/{a}", "/{a", "/x", "error: closing brace")
	f("/{a}", "/x?", "/x", "error: '?'")
	f("/x{a}y", "/{a}", "/x1y", "/1")
	f("/{a}", "/{a}}", "/x", "error: '}'")
	f("/{a}", "/x=1*", "/x", "/x=1*")
}

// FuzzTemplate: what compiles matches paths that are made of it, and rewrites them to paths.
func FuzzTemplate(f *testing.F) {
	f.Add("/a/{b}/**", "/{b}", "/a/1/2")
	f.Add("/{a=x/*}.json", "/{a}/y", "/x/1.json")
	f.Fuzz(func(t *testing.T, pattern, rewrite, path string) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		if !strings.ContainsAny(pattern, "*{") && !p.Match([]byte(pattern)) {
			t.Errorf("%q does not match itself", pattern)
		}
		r, err := CompileRewrite(rewrite, p)
		if err != nil {
			return
		}
		out, ok := r.Append(nil, []byte(path))
		if ok != p.Match([]byte(path)) {
			t.Errorf("%q: match and rewrite of %q disagree", pattern, path)
		}
		if ok && (len(out) == 0 || out[0] != '/') {
			t.Errorf("%q makes %q of %q", rewrite, out, path)
		}
	})
}

package xdsresource

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDynatraceResource(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	process := write("process.properties", "dt.entity.process=P-1\n  padded = x \r\n\nno sign\n=a==b=\na=b=c\nempty=\n")
	indirect := indirectionPrefix + "1.properties"
	write(indirect, process)
	host := write("host.properties", "dt.entity.host=H-1")
	large := write("large.properties", "a=b\n"+strings.Repeat("x", maxEnrichment))
	f := func(want [][2]string, files ...string) {
		t.Helper()
		if got := dynatraceResource(files); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	one, two := [][2]string{{"dt.entity.process", "P-1"}, {"padded ", " x"}, {"a", "b"}}, [][2]string{{"dt.entity.host", "H-1"}}
	f(one, indirect)
	f(append(append([][2]string{}, one...), two...), indirect, "/no/such/file", host)
	f(two, dir, large, host) // a directory, and a file that is too large
	write(indirect, process+"\n")
	f(two, indirect, host) // no file of that name, with the end of the line
	write(indirect, "")
	f(nil, indirect)
}

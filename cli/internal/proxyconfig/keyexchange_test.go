package proxyconfig

import (
	"strings"
	"testing"
)

func TestPrintKeyExchanges(t *testing.T) {
	stats := `cluster.outbound|80||webapp.istioinaction.svc.cluster.local.ssl.curves.X25519: 1
cluster.outbound|80||webapp.istioinaction.svc.cluster.local.ssl.curves.X25519MLKEM768: 12
cluster.outbound|80||webapp.istioinaction.svc.cluster.local.ssl.versions.TLSv1.3: 13
cluster.outbound|80||forum.istioinaction.svc.cluster.local.ssl.curves.X25519: 0
listener.0.0.0.0_8443.ssl.curves.P-256: 2
listener.0.0.0.0_8443.ssl.versions.TLSv1.2: 2
`
	want := `
TLS CONNECTIONS                                                 VERSION        KEY EXCHANGE
cluster.outbound|80||webapp.istioinaction.svc.cluster.local     TLSv1.3 13     X25519 1, X25519MLKEM768 12
listener.0.0.0.0_8443                                           TLSv1.2 2      P-256 2
`
	var out strings.Builder
	if err := PrintKeyExchanges(&out, []byte(stats)); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("it prints\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := PrintKeyExchanges(&out, nil); err != nil || out.String() != "" {
		t.Errorf("without any connection: %q, %v", out.String(), err)
	}
	if err := PrintKeyExchanges(&out, []byte("<html>\n")); err == nil {
		t.Error("another page was taken for statistics")
	}
}

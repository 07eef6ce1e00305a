package jwtauthn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/httpfilter"
	"github.com/lateen-mesh/lateen/proxy/internal/jwt/jwttest"
)

// BenchmarkFilter: a token that was verified before, new ones of each algorithm, and what strangers
// can make us do.
func BenchmarkFilter(b *testing.B) {
	k := jwttest.New(b)
	const claims = `{"iss":"i","sub":"alice","aud":["shop","api"],"exp":4102444800,"iat":1700000000,"scope":"openid profile email","groups":["a","b","c","d"]}`
	run := func(name string, want httpfilter.Status, forget bool, token string) {
		b.Run(name, func(b *testing.B) {
			f, s := newStream(b, k)
			var h header.Map
			b.ReportAllocs()
			for b.Loop() {
				if got := s.judge(f, &h, "Bearer "+token); got != want {
					b.Fatalf("%d %q", got, s.reply)
				}
				if forget {
					f.caches[0] = cache{max: 100, maxToken: 1 << 20}
				}
			}
		})
	}
	run("remembered", httpfilter.Continue, false, k.Sign("RS256", claims))
	for _, alg := range []string{"RS256", "PS512", "ES256", "ES384", "ES512", "HS256", "EdDSA"} {
		run("new "+alg, httpfilter.Continue, true, k.Sign(alg, claims))
	}
	run("bad signature", httpfilter.Stop, false, jwttest.New(b).Sign("RS256", claims))
	run("garbage", httpfilter.Stop, false, strings.Repeat("x", 1000))
	run("many values", httpfilter.Stop, false, k.Sign("HS256", `{"a":[`+strings.Repeat("1,", 20000)+`1]}`))
	run("many names", httpfilter.Stop, false, k.Sign("HS256", `{`+manyNames(5000)+`"a":1}`))
	run("deep", httpfilter.Stop, false, k.Sign("HS256", strings.Repeat(`{"":`, 10000)+"1"+strings.Repeat("}", 10000)))
	run("escapes", httpfilter.Stop, false, k.Sign("HS256", `{"a":"`+strings.Repeat(`\u0041`, 7000)+`"}`))
	run("blanks", httpfilter.Stop, false, k.Sign("HS256", `{`+strings.Repeat(" ", 45000)+`}`))
}

func manyNames(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, `"%x":1,`, i)
	}
	return out.String()
}

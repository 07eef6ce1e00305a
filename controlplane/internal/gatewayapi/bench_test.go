package gatewayapi

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/controlplane/internal/derived"
)

// BenchmarkTranslate is a change of one Service among 1,000, with 500 HTTPRoutes of one Gateway.
func BenchmarkTranslate(b *testing.B) {
	var text strings.Builder
	text.WriteString(translated)
	for i := range 1000 {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Service\nmetadata: {name: s%d}\nspec: {ports: [{port: 80}]}\n", i)
		if i%2 == 0 {
			fmt.Fprintf(&text, "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r%d}\nspec: {parentRefs: [{name: door}], hostnames: [s%d.example.com], rules: [{backendRefs: [{name: s%d, port: 80}]}]}\n", i, i, i)
		}
	}
	set, err := config.Load([]config.File{{Name: "bench.yaml", Data: []byte(text.String())}}, config.LoadOptions{})
	if err != nil {
		b.Fatal(err)
	}
	tr := derived.NewTranslator(API{}, time.Now)
	tr.Note(set.All(), nil)
	if made, _ := tr.Translate(); len(made) != 502 {
		b.Fatalf("%d objects", len(made))
	}
	one := set.All()[:1]
	for b.Loop() {
		tr.Note(one, nil)
		if made, gone := tr.Translate(); len(made)+len(gone) > 0 {
			b.Fatal("the same came to something else")
		}
	}
}

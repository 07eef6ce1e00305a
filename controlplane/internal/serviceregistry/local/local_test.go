package local

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lateen-mesh/lateen/controlplane/internal/configstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyWorkloads(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"web-1.yaml": "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: web-1, namespace: shop}\nspec: {address: 127.77.1.1, labels: {app: web}}\n",
		"svc.yaml":   "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store := New(dir, nil)
	ctx, cancel := context.WithCancel(t.Context())
	batches, done := make(chan configstore.Batch, 10), make(chan error, 1)
	go func() { done <- store.Run(ctx, func(b configstore.Batch) { batches <- b }) }()
	select {
	case b := <-batches:
		if len(b.Changed) != 1 || b.Changed[0].Name != "web-1" {
			t.Errorf("batch: %+v", b)
		}
	case <-time.After(time.Minute):
		t.Error("no batch within 30 s")
	}
	if m := store.Mistakes(); len(m) != 1 || !strings.Contains(m[0].Text, "lateen apply") {
		t.Errorf("mistakes: %v", m)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run `lateen` as a program of its own, as cmd/lateen does.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"lateen": lateen})
}

func lateen() {
	err := NewRoot().ExecuteContext(context.Background())
	if err == nil {
		return
	}
	code := 1
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code = coded.ExitCode()
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "Error: "+text)
	}
	os.Exit(code)
}

// TestScripts runs the sessions of testdata/script: commands, what they print, what they leave
// in the state folder. The shop's manifests are at $SHOP.
func TestScripts(t *testing.T) {
	shop, err := filepath.Abs("../samples/shop")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("LATEEN_STATE", filepath.Join(env.WorkDir, "state"))
			env.Setenv("SHOP", shop)
			return nil
		},
	})
}

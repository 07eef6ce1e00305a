package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// TokenLife is how long a join token is good for; tokens are written anew at half of it.
const TokenLife = 12 * time.Hour

// WriteToken gives a workload its token file, readable by the owner alone. The key is the control plane's, in the folder of its certificate authority (jointoken.ReadKey).
func (s Site) WriteToken(key []byte, w Workload, now time.Time) error {
	if err := os.MkdirAll(filepath.Dir(s.TokenFile(w)), 0o700); err != nil {
		return fmt.Errorf("join tokens: %w", err)
	}
	token, err := jointoken.Mint(key, w.Namespace, w.ServiceAccount, now, TokenLife)
	if err != nil {
		return fmt.Errorf("join token of %s: %w", w.Name, err)
	}
	if err := runfile.WriteFile(s.TokenFile(w), []byte(token+"\n"), 0o600); err != nil {
		return fmt.Errorf("join token of %s: %w", w.Name, err)
	}
	return nil
}

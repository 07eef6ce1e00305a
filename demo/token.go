package demo

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/lateen-mesh/lateen/pkg/jointoken"
	"github.com/lateen-mesh/lateen/pkg/runfile"
)

// tokenLife is how long a join token is good for; tokens are written anew at half of it.
const tokenLife = 12 * time.Hour

// writeTokens gives each proxy its token file, readable by the owner alone. The control plane has made the key at its first start.
func (p *plan) writeTokens(now time.Time) error {
	key, err := jointoken.ReadKey(p.path("ca"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.path("tokens"), 0o700); err != nil {
		return fmt.Errorf("join tokens: %w", err)
	}
	for _, w := range p.workloads {
		token, err := jointoken.Mint(key, w.Namespace, w.ServiceAccount, now, tokenLife)
		if err != nil {
			return fmt.Errorf("join token of %s: %w", w.Name, err)
		}
		if err := runfile.WriteFile(p.tokenFile(w), []byte(token+"\n"), 0o600); err != nil {
			return fmt.Errorf("join token of %s: %w", w.Name, err)
		}
	}
	return nil
}

// refreshTokens keeps the files valid until ctx ends.
func (p *plan) refreshTokens(ctx context.Context) error {
	ticker := time.NewTicker(tokenLife / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := p.writeTokens(now); err != nil {
				return err
			}
		}
	}
}

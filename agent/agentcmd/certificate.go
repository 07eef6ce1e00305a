package agentcmd

import (
	"fmt"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/agent"
)

// certificateSettings reads pilot-agent's variables of certificates and keys
// (https://istio.io/latest/docs/reference/commands/pilot-agent/#envvars). Keys are ECDSA on P-256 where nothing is said, and RSA where WORKLOAD_RSA_KEY_SIZE
// is; they are written as PKCS #8, whatever PKCS8_KEY says.
func certificateSettings(cfg *agent.Config, env map[string]string) error {
	var err error
	if ttl := env["SECRET_TTL"]; ttl != "" {
		if cfg.TTL, err = time.ParseDuration(ttl); err != nil || cfg.TTL <= 0 {
			return fmt.Errorf("SECRET_TTL=%q: want a certificate's life, such as 24h", ttl)
		}
	}
	for _, f := range []struct {
		name string
		into *float64
	}{{"SECRET_GRACE_PERIOD_RATIO", &cfg.GraceRatio}, {"SECRET_GRACE_PERIOD_RATIO_JITTER", &cfg.GraceJitter}} {
		text := env[f.name]
		if text == "" {
			continue
		}
		if *f.into, err = strconv.ParseFloat(text, 64); err != nil || !(*f.into >= 0 && *f.into < 1) {
			return fmt.Errorf("%s=%q: want a share of a certificate's life, such as 0.5", f.name, text)
		}
	}
	if size := env["WORKLOAD_RSA_KEY_SIZE"]; size != "" {
		if cfg.Key.RSABits, err = strconv.Atoi(size); err != nil || cfg.Key.RSABits == 0 {
			return fmt.Errorf("WORKLOAD_RSA_KEY_SIZE=%q: want 2048 to 4096", size)
		}
	}
	switch algorithm := env["ECC_SIGNATURE_ALGORITHM"]; algorithm {
	case "":
	case "ECDSA":
		cfg.Key.RSABits = 0
	default:
		return fmt.Errorf("ECC_SIGNATURE_ALGORITHM=%q: want ECDSA", algorithm)
	}
	switch curve := env["ECC_CURVE"]; curve {
	case "", "P256":
	case "P384":
		cfg.Key.P384 = true
	default:
		return fmt.Errorf("ECC_CURVE=%q: want P256 or P384", curve)
	}
	cfg.OutputDir, cfg.ProvisionedDir = env["OUTPUT_CERTS"], env["PROV_CERT"]
	return nil
}

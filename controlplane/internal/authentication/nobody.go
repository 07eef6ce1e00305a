package authentication

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"sync"
)

// nobody is a key set with one key, of which nobody has the private part: no token is good by it. Envoy refuses a listener of which a rule has no key, and
// with it all that the listener serves. The key is a point of P-256 whose x is a hash, so that its logarithm is not known; it is the same everywhere, since
// what is made of it must not differ between two control planes.
var nobody = sync.OnceValue(func() string {
	curve := elliptic.P256().Params()
	for i := 0; ; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "lateen: the key of nobody, %d", i))
		x := new(big.Int).SetBytes(sum[:])
		if x.Cmp(curve.P) >= 0 {
			continue
		}
		// y² = x³ - 3x + b has a solution for every second x.
		y := new(big.Int).Exp(x, big.NewInt(3), curve.P)
		y.Sub(y, new(big.Int).Mul(big.NewInt(3), x)).Add(y, curve.B).Mod(y, curve.P)
		if y.ModSqrt(y, curve.P) == nil {
			continue
		}
		coordinate := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.FillBytes(make([]byte, 32))) }
		return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"nobody","x":%q,"y":%q}]}`, coordinate(x), coordinate(y))
	}
})

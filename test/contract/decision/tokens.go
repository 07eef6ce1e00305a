package decision

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Token is a JSON Web Token made for the table, which rows show as $(NAME.token).
type Token struct {
	Name    string         `json:"name"`
	Key     string         `json:"key"`     // who signs: objects have the keys as $(KEY.jwks)
	Claims  map[string]any `json:"claims"`  // besides exp, an hour from now
	Expired bool           `json:"expired"` // since an hour
	Forged  bool           `json:"forged"`  // signed with another key of the same name
}

// signers are the keys of tokens, by name, and the tokens that they have signed.
type signers struct {
	keys   map[string]*ecdsa.PrivateKey
	tokens map[string]string
}

func newSigners(list []Token) (*signers, error) {
	s := &signers{keys: map[string]*ecdsa.PrivateKey{}, tokens: map[string]string{}}
	for _, t := range list {
		if err := s.sign(t); err != nil {
			return nil, fmt.Errorf("token %q: %w", t.Name, err)
		}
	}
	return s, nil
}

func (s *signers) sign(t Token) error {
	key := s.keys[t.Key]
	if key == nil || t.Forged {
		var err error
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	if !t.Forged {
		s.keys[t.Key] = key
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", t.Key))
	if err != nil {
		return err
	}
	expires := time.Now().Add(time.Hour)
	if t.Expired {
		expires = time.Now().Add(-time.Hour)
	}
	claims := map[string]any{"exp": expires.Unix()}
	maps.Copy(claims, t.Claims)
	s.tokens[t.Name], err = jwt.Signed(signer).Claims(claims).Serialize()
	return err
}

// jwks is a signer's public key as its server has it.
func (s *signers) jwks(name string) (string, error) {
	key := s.keys[name]
	if key == nil {
		return "", fmt.Errorf("no token is signed by %q", name)
	}
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: name, Algorithm: string(jose.ES256), Use: "sig"}}})
	return string(raw), err
}

func (s *signers) token(name string) (string, error) {
	t, ok := s.tokens[name]
	if !ok {
		return "", fmt.Errorf("there is no token %q in the head", name)
	}
	return t, nil
}

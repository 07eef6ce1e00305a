package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Policies of the row "policies": what the control plane makes of a RequestAuthentication and of a hundred AuthorizationPolicies of one workload, each for
// another part of the API or another client. Half deny and match nothing; of those that allow the last one matches.
const (
	policies    = 100
	benchIssuer = "https://issuer.example.com"
	benchClient = "bench"
)

// policyFilters are the filters of the listener "policed": tokens, denials, allowances.
func policyFilters() string {
	return `
          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              bypass_cors_preflight: true
              providers:
                origins-0:
                  issuer: ` + benchIssuer + `
                  local_jwks: {inline_string: '{{.KeySet}}'}
                  payload_in_metadata: payload
                  jwt_cache_config: {}
                  normalize_payload_in_metadata: {space_delimited_claims: [scope, permission]}
              rules:
              - match: {prefix: "/"}
                requires: {requires_any: {requirements: [{provider_name: origins-0}, {allow_missing: {}}]}}` +
		rbacFilter("DENY", func(i int) string {
			if i%10 == 0 {
				return policyOf("any: true", fmt.Sprintf("direct_remote_ip: {address_prefix: 192.0.2.%d, prefix_len: 32}", i))
			}
			return policyOf(onPath(fmt.Sprintf("/area-%d/admin/", i), "DELETE"), "any: true")
		}) +
		rbacFilter("ALLOW", func(i int) string {
			switch {
			case i == policies/2-1:
				return policyOf(onPath("/items", "GET"), tokenOf(benchClient))
			case i%10 == 0:
				return policyOf("any: true", tokenOf(fmt.Sprint("operator-", i)))
			}
			return policyOf(onPath(fmt.Sprintf("/area-%d/", i), "GET"), tokenOf(fmt.Sprint("client-", i)))
		})
}

func rbacFilter(action string, policy func(i int) string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              track_per_rule_stats: true
              rules:
                action: %s
                policies:`, action)
	for i := range policies / 2 {
		fmt.Fprintf(&b, "\n                  ns[default]-policy[p-%03d]-rule[0]: %s", i, policy(i))
	}
	return b.String()
}

func policyOf(permission, principal string) string {
	return fmt.Sprintf("{permissions: [{and_rules: {rules: [{%s}]}}], principals: [{and_ids: {ids: [{%s}]}}]}", permission, principal)
}

func onPath(prefix, method string) string {
	return fmt.Sprintf(`or_rules: {rules: [{header: {name: ":method", string_match: {exact: %s}}}]}}, {or_rules: {rules: [{url_path: {path: {prefix: %s}}}]}`, method, prefix)
}

// tokenOf matches tokens of a subject.
func tokenOf(subject string) string {
	claim := func(name, value string) string {
		return fmt.Sprintf("metadata: {filter: envoy.filters.http.jwt_authn, path: [{key: payload}, {key: %s}], value: {string_match: {exact: '%s'}}}", name, value)
	}
	return fmt.Sprintf("or_ids: {ids: [{and_ids: {ids: [{%s}, {%s}]}}]}", claim("iss", benchIssuer), claim("sub", subject))
}

// signToken makes a token of the size that issuers give, good for a day, and the key set that verifies it.
func signToken(key *ecdsa.PrivateKey) (token, keySet string, err error) {
	text := base64.RawURLEncoding.EncodeToString
	signed := text([]byte(`{"alg":"ES256","kid":"bench","typ":"JWT"}`)) + "." + text(fmt.Appendf(nil,
		`{"iss":%q,"sub":%q,"aud":["shop","bank"],"exp":%d,"iat":%d,"scope":"openid profile email","groups":["staff","admins"],"email":"bench@example.com"}`,
		benchIssuer, benchClient, time.Now().Add(24*time.Hour).Unix(), time.Now().Unix()))
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", "", err
	}
	public, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return "", "", err
	}
	keySet = fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"bench","x":%q,"y":%q}]}`, text(public[1:33]), text(public[33:]))
	return signed + "." + text(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), keySet, nil
}

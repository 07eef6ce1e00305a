package jwtauthn

import (
	"fmt"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// verifier is a compiled JwtRequirement: a tree whose leaves look for tokens.
type verifier struct {
	root   *requirement
	leaves int
}

type kind uint8

const (
	nothing  kind = iota // is always met
	leaf                 // tokens of one provider, or of all of them
	anyChild             // one child is enough
	allChildren
)

// requirement is a node of the tree.
type requirement struct {
	kind     kind
	children []*requirement

	// Of a leaf:
	index     int // among the leaves of the tree
	provider  int // index of the provider; -1: the token's issuer tells
	audiences audiences
	override  bool // audiences stand for the provider's
	extractor *extractor
	// allowMissing and allowFailed say what is no failure. anyChild has them as well, for the children
	// of that kind which stand beside others.
	allowMissing, allowFailed bool
	// unverified is set to "false" where a token failed (extract_only_without_validation); nil: not.
	unverified *header.Key
}

// defaultUnverified is the header of extract_only_without_validation.
const defaultUnverified = "x-jwt-signature-verified"

// builder compiles the requirements of one configuration.
type builder struct {
	r *xdsresource.FilterReader
	c *Config
	v *verifier // under way
}

func (b *builder) verifier(path string, m *jwtv3.JwtRequirement) *verifier {
	b.v = &verifier{}
	b.v.root = b.requirement(path, m)
	return b.v
}

func (b *builder) requirement(path string, m *jwtv3.JwtRequirement) *requirement {
	switch q := m.GetRequiresType().(type) {
	case nil:
		return &requirement{kind: nothing}
	case *jwtv3.JwtRequirement_ProviderName:
		return b.ofProvider(path+".provider_name", q.ProviderName, nil)
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		return b.ofProvider(path+".provider_and_audiences.provider_name", q.ProviderAndAudiences.GetProviderName(), q.ProviderAndAudiences.GetAudiences())
	case *jwtv3.JwtRequirement_RequiresAny:
		return b.ofAny(path+".requires_any", q.RequiresAny.GetRequirements())
	case *jwtv3.JwtRequirement_RequiresAll:
		out := &requirement{kind: allChildren}
		for i, x := range q.RequiresAll.GetRequirements() {
			out.children = append(out.children, b.requirement(fmt.Sprintf("%s.requires_all.requirements[%d]", path, i), x))
		}
		return out
	case *jwtv3.JwtRequirement_AllowMissing:
		return b.ofAll(true, false)
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return b.ofAll(true, true)
	case *jwtv3.JwtRequirement_ExtractOnlyWithoutValidation:
		out := b.ofAll(true, true)
		name := q.ExtractOnlyWithoutValidation.GetVerificationStatusHeader()
		if name == "" {
			name = defaultUnverified
		}
		k := headerKey(b.r, path+".extract_only_without_validation.verification_status_header", name)
		out.unverified = &k
		return out
	}
	b.r.Bad(path, "this kind of requirement is not supported")
	return nil
}

// leaf numbers a new leaf.
func (b *builder) leaf(x requirement) *requirement {
	x.kind, x.index = leaf, b.v.leaves
	b.v.leaves++
	return &x
}

func (b *builder) ofProvider(path, name string, aud []string) *requirement {
	for i, p := range b.c.providers {
		if p.name == name {
			return b.leaf(requirement{provider: i, audiences: newAudiences(aud), override: len(aud) > 0, extractor: newExtractor(p)})
		}
	}
	b.r.Bad(path, "provider %q is not configured", name)
	return nil
}

// ofAll is about the tokens of all providers.
func (b *builder) ofAll(allowMissing, allowFailed bool) *requirement {
	return b.leaf(requirement{provider: -1, extractor: newExtractor(b.c.providers...), allowMissing: allowMissing, allowFailed: allowFailed})
}

// ofAny leaves the children out that allow something: beside others they say how their failure
// counts, and look for no tokens themselves.
func (b *builder) ofAny(path string, list []*jwtv3.JwtRequirement) *requirement {
	out := &requirement{kind: anyChild}
	for i, x := range list {
		switch x.GetRequiresType().(type) {
		case *jwtv3.JwtRequirement_AllowMissing:
			out.allowMissing = true
		case *jwtv3.JwtRequirement_AllowMissingOrFailed:
			out.allowMissing, out.allowFailed = true, true
		default:
			out.children = append(out.children, b.requirement(fmt.Sprintf("%s.requirements[%d]", path, i), x))
		}
	}
	if len(out.children) == 0 {
		return b.ofAll(out.allowMissing, out.allowFailed)
	}
	return out
}

package validate

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
	security "istio.io/api/security/v1beta1"

	"github.com/lateen-mesh/lateen/config/internal/field"
)

func peerAuthentication(c *checker, root *field.Path, spec any) {
	pa := spec.(*security.PeerAuthentication)
	c.selector(root.Child("selector"), pa.Selector)
	if len(pa.PortLevelMtls) > 0 && len(pa.Selector.GetMatchLabels()) == 0 {
		c.add(root.Child("portLevelMtls"), "needs a selector; ports are those of certain workloads")
	}
	for port := range pa.PortLevelMtls {
		c.port(root.Child("portLevelMtls").Child(utoa(port)), int64(port), false)
	}
}

func requestAuthentication(c *checker, root *field.Path, spec any) {
	ra := spec.(*security.RequestAuthentication)
	c.selector(root.Child("selector"), ra.Selector)
	c.targetRefs(root, ra.TargetRef, ra.TargetRefs, ra.Selector)
	for i, r := range ra.JwtRules {
		at := root.Child("jwtRules").Index(i)
		if r.Issuer == "" {
			c.add(at.Child("issuer"), "missing; name who signs the tokens")
		}
		for j, a := range r.Audiences {
			if a == "" {
				c.add(at.Child("audiences").Index(j), "empty")
			}
		}
		if r.JwksUri != "" {
			if u, err := url.Parse(r.JwksUri); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				c.add(at.Child("jwksUri"), "%q is not an http or https URL", r.JwksUri)
			}
			if r.Jwks != "" {
				c.add(at.Child("jwks"), "set either jwks or jwksUri")
			}
		}
		if r.Jwks != "" {
			if err := KeySet(r.Jwks); err != nil {
				c.add(at.Child("jwks"), "%v", err)
			}
		}
		for j, h := range r.FromHeaders {
			c.header(at.Child("fromHeaders").Index(j).Child("name"), h.Name)
		}
		for j, s := range r.FromParams {
			if s == "" {
				c.add(at.Child("fromParams").Index(j), "empty; name a query parameter")
			}
		}
		for j, h := range r.OutputClaimToHeaders {
			c.header(at.Child("outputClaimToHeaders").Index(j).Child("header"), h.Header)
			if h.Claim == "" {
				c.add(at.Child("outputClaimToHeaders").Index(j).Child("claim"), "missing; name a claim")
			}
		}
		c.duration(at.Child("timeout"), r.Timeout, positive)
	}
}

// KeySet checks a JSON Web Key Set (RFC 7517, section 5): proxies refuse one without a key that they can use, and with it the listener that it is for.
func KeySet(text string) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		return fmt.Errorf("is not a JSON Web Key Set: %w", err)
	}
	for _, k := range set.Keys {
		if k.IsPublic() && k.Valid() {
			return nil
		}
		if _, symmetric := k.Key.([]byte); symmetric {
			return nil
		}
	}
	return errors.New("has no public key")
}

func authorizationPolicy(c *checker, root *field.Path, spec any) {
	ap := spec.(*security.AuthorizationPolicy)
	c.selector(root.Child("selector"), ap.Selector)
	c.targetRefs(root, ap.TargetRef, ap.TargetRefs, ap.Selector)
	custom := ap.Action == security.AuthorizationPolicy_CUSTOM
	if custom && ap.GetProvider().GetName() == "" {
		c.add(root.Child("provider"), "missing; action CUSTOM needs the name of an extension provider")
	}
	if !custom && ap.GetProvider() != nil {
		c.add(root.Child("provider"), "needs action CUSTOM")
	}
	if ap.Action == security.AuthorizationPolicy_DENY && ap.Rules == nil {
		c.add(root.Child("rules"), "missing; without rules nothing is denied. To deny all, write `rules: [{}]`")
	}
	for i, r := range ap.Rules {
		at := root.Child("rules").Index(i)
		if r.From != nil && len(r.From) == 0 {
			c.add(at.Child("from"), "empty; remove it to match any source")
		}
		for j, f := range r.From {
			c.source(at.Child("from").Index(j).Child("source"), f.Source)
		}
		for j, t := range r.To {
			c.operation(at.Child("to").Index(j).Child("operation"), t.Operation)
		}
		for j, cond := range r.When {
			c.condition(at.Child("when").Index(j), cond)
		}
	}
}

func (c *checker) source(p *field.Path, s *security.Source) {
	if s == nil {
		c.add(p, "missing; describe the source, or remove the element")
		return
	}
	lists := map[string][]string{
		"principals": s.Principals, "notPrincipals": s.NotPrincipals, "requestPrincipals": s.RequestPrincipals,
		"notRequestPrincipals": s.NotRequestPrincipals, "namespaces": s.Namespaces, "notNamespaces": s.NotNamespaces,
		"serviceAccounts": s.ServiceAccounts, "notServiceAccounts": s.NotServiceAccounts, "ipBlocks": s.IpBlocks, "notIpBlocks": s.NotIpBlocks,
		"remoteIpBlocks": s.RemoteIpBlocks, "notRemoteIpBlocks": s.NotRemoteIpBlocks, "trustDomains": s.TrustDomains, "notTrustDomains": s.NotTrustDomains,
	}
	any := false
	for name, list := range lists {
		any = any || len(list) > 0
		for i, v := range list {
			at := p.Child(name).Index(i)
			switch {
			case v == "":
				c.add(at, "empty; remove it")
			case strings.HasSuffix(name, "pBlocks"):
				c.cidr(at, v)
			}
		}
	}
	if !any {
		c.add(p, "says nothing; describe the source, or remove it")
	}
	if (len(s.ServiceAccounts) > 0 || len(s.NotServiceAccounts) > 0) && (len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces) > 0) {
		c.add(p.Child("serviceAccounts"), "cannot be combined with principals or namespaces; remove one")
	}
}

func (c *checker) operation(p *field.Path, o *security.Operation) {
	if o == nil {
		c.add(p, "missing; describe the operation, or remove the element")
		return
	}
	any := false
	for name, list := range map[string][]string{"hosts": o.Hosts, "notHosts": o.NotHosts, "methods": o.Methods, "notMethods": o.NotMethods,
		"paths": o.Paths, "notPaths": o.NotPaths, "ports": o.Ports, "notPorts": o.NotPorts} {
		any = any || len(list) > 0
		for i, v := range list {
			at := p.Child(name).Index(i)
			switch {
			case v == "":
				c.add(at, "empty; remove it")
			case strings.HasSuffix(strings.ToLower(name), "ports"):
				if n, ok := atou(v); !ok || n < 1 || n > 65535 {
					c.add(at, "%q is not a port; use 1 to 65535", v)
				}
			}
		}
	}
	if !any {
		c.add(p, "says nothing; describe the operation, or remove it")
	}
}

// conditionKeys are the attributes of https://istio.io/latest/docs/reference/config/security/conditions/.
var conditionKeys = []string{"source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "destination.ip",
	"destination.port", "connection.sni", "request.auth.principal", "request.auth.audiences", "request.auth.presenter"}

// conditionPrefixes are the attributes that are followed by a key in brackets.
var conditionPrefixes = []string{"request.headers[", "request.auth.claims[", "experimental.envoy.filters."}

func (c *checker) condition(p *field.Path, cond *security.Condition) {
	if len(cond.Values)+len(cond.NotValues) == 0 {
		c.add(p, "no values; set values or notValues")
	}
	known := contains(conditionKeys, cond.Key)
	for _, prefix := range conditionPrefixes {
		known = known || strings.HasPrefix(cond.Key, prefix)
	}
	if !known {
		c.add(p.Child("key"), "%q is no attribute%s; known: %s, request.headers[NAME], request.auth.claims[NAME]", cond.Key,
			suggestion(cond.Key, conditionKeys), strings.Join(conditionKeys, ", "))
		return
	}
	for name, list := range map[string][]string{"values": cond.Values, "notValues": cond.NotValues} {
		for i, v := range list {
			at := p.Child(name).Index(i)
			switch cond.Key {
			case "source.ip", "remote.ip", "destination.ip":
				c.cidr(at, v)
			case "destination.port":
				if n, ok := atou(v); !ok || n < 1 || n > 65535 {
					c.add(at, "%q is not a port; use 1 to 65535", v)
				}
			}
		}
	}
}

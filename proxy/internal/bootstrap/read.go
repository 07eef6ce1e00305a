package bootstrap

import (
	"errors"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Source is where a bootstrap comes from: texts, and what the command line says beside them.
type Source struct {
	// Base and Overlay are YAML or JSON; the overlay is merged over the base. One may be empty.
	Base, Overlay []byte
	// NodeID, NodeCluster and Zone replace those of the texts when they are not empty.
	NodeID, NodeCluster, Zone string
	// AllowUnknown leaves unknown fields of the texts out, and hands them to Unknown.
	AllowUnknown bool
	Unknown      func(xdsresource.Problem)
	// Unread gets what the text asks for in vain; nil: nobody does. See the function of that name.
	Unread func(xdsresource.Problem)
	// Parsing is called when the texts are about to be parsed, and what it returns when they have been; nil: nothing is.
	Parsing func() (done func())
	// UserAgent and UserAgentVersion tell the control plane which proxy this is.
	UserAgent, UserAgentVersion string
}

// Read parses, merges and judges a bootstrap. The error is an *xdsresource.Error with everything
// that is wrong in either text, be it unknown or unsupported; or what kept a text from being read.
func Read(src Source, dec *xdsresource.Decoder) (*Bootstrap, error) {
	m, problems, err := src.parse()
	if err != nil {
		return nil, err
	}
	src.setNode(m)
	if src.Unread != nil {
		for _, p := range Unread(m) {
			src.Unread(p)
		}
	}
	b, err := Load(m, dec)
	if len(problems) == 0 {
		return b, err
	}
	out := &xdsresource.Error{Type: "bootstrap", Name: m.GetNode().GetId(), Problems: problems}
	var e *xdsresource.Error
	if errors.As(err, &e) {
		out.Problems = append(out.Problems, withoutConsequences(e.Problems, problems)...)
	}
	return nil, out
}

// parse reads and merges the texts. What is not known in them is left out, and is among the problems.
func (src *Source) parse() (m *bootstrapv3.Bootstrap, problems []xdsresource.Problem, err error) {
	if src.Parsing != nil {
		defer src.Parsing()()
	}
	for _, raw := range [][]byte{src.Base, src.Overlay} {
		if len(raw) == 0 {
			continue
		}
		part, unknown, err := parse(raw, src.AllowUnknown)
		var e *xdsresource.Error
		if errors.As(err, &e) {
			problems = append(problems, e.Problems...)
		} else if err != nil {
			return nil, nil, err
		}
		for _, p := range unknown {
			src.Unknown(p)
		}
		m = Merge(m, part)
	}
	if m == nil {
		m = &bootstrapv3.Bootstrap{}
	}
	return m, problems, nil
}

// withoutConsequences drops problems that are there only because something unknown was left out:
// those at its path, and at what holds it.
func withoutConsequences(in, causes []xdsresource.Problem) []xdsresource.Problem {
	return slices.DeleteFunc(in, func(p xdsresource.Problem) bool {
		return slices.ContainsFunc(causes, func(c xdsresource.Problem) bool {
			parent := c.Path[:max(strings.LastIndexByte(c.Path, '.'), 0)]
			return p.Path == c.Path || p.Path == parent
		})
	})
}

func (src *Source) setNode(m *bootstrapv3.Bootstrap) {
	if m.Node == nil {
		m.Node = &corev3.Node{}
	}
	if src.NodeID != "" {
		m.Node.Id = src.NodeID
	}
	if src.NodeCluster != "" {
		m.Node.Cluster = src.NodeCluster
	}
	if src.Zone != "" {
		if m.Node.Locality == nil {
			m.Node.Locality = &corev3.Locality{}
		}
		m.Node.Locality.Zone = src.Zone
	}
	m.Node.UserAgentName = src.UserAgent
	m.Node.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: src.UserAgentVersion}
}

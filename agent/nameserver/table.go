package nameserver

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/pkg/nametable"
)

// table is what is known of the mesh's names. Its methods may be called from any goroutine.
type table struct {
	namespace string // the workload's
	domain    string // of the mesh's registry, "svc.cluster.local"

	mu     sync.RWMutex
	loaded bool
	// hosts by name without the final dot, in lower case; wildcards begin with "*.". Those that a resource is named after come before those that it names as well.
	hosts, others map[string]*addresses
	// named is what others has of each resource.
	named map[string][]string
}

// addresses are a name's.
type addresses struct {
	v4, v6 []netip.Addr
	short  bool // it has short forms
}

// newTable returns a table for a workload whose DNS domain is "shop.svc.cluster.local" in namespace "shop", or "svc.cluster.local".
func newTable(namespace, domain string) *table {
	domain = strings.ToLower(strings.TrimSuffix(domain, "."))
	return &table{
		namespace: namespace, domain: strings.TrimPrefix(domain, namespace+"."),
		hosts: map[string]*addresses{}, others: map[string]*addresses{}, named: map[string][]string{},
	}
}

// set takes what a control plane has told: the resources that changed, by name, and the names of those that are gone.
func (t *table) set(changed map[string]*nametable.Table, gone []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded = true
	for _, name := range gone {
		t.drop(name)
	}
	for name, of := range changed {
		t.drop(name)
		if of.Own != nil {
			if a := addressesOf(*of.Own); a != nil {
				t.hosts[key(name)] = a
			}
		}
		for host, info := range of.Names {
			if a := addressesOf(info); a != nil {
				t.others[key(host)] = a
				t.named[name] = append(t.named[name], key(host))
			}
		}
	}
}

func (t *table) drop(name string) {
	delete(t.hosts, key(name))
	for _, host := range t.named[name] {
		delete(t.others, host)
	}
	delete(t.named, name)
}

// addressesOf returns nil where there are none: the name is for others to resolve.
func addressesOf(info nametable.Info) *addresses {
	a := &addresses{short: info.Registry == nametable.Kubernetes && info.ShortName != ""}
	for _, text := range info.IPs {
		ip, err := netip.ParseAddr(text)
		switch ip = ip.Unmap().WithZone(""); {
		case err != nil: // nothing that DNS could say
		case ip.Is4():
			a.v4 = append(a.v4, ip)
		default:
			a.v6 = append(a.v6, ip)
		}
	}
	if len(a.v4)+len(a.v6) == 0 {
		return nil
	}
	return a
}

// key is the form of a name in the table.
func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// ready reports whether the control plane has told anything yet.
func (t *table) ready() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.loaded
}

// find returns the addresses of a name as it is in a query, nil when it is not the mesh's. search is the first domain that the workload's resolver appends to names;
// target is the name without it, where that is the one that is known, "" else.
func (t *table) find(name, search string) (found *addresses, target string) {
	name = key(name)
	t.mu.RLock()
	defer t.mu.RUnlock()
	if found = t.named1(name); found != nil {
		return found, ""
	}
	// The resolver goes through its search domains before it asks for the name itself. To answer the first of them saves all others.
	rest, ok := strings.CutSuffix(name, "."+key(search))
	if !ok || search == "" || rest == "" {
		return nil, ""
	}
	return t.named1(rest), rest
}

// named1 looks a name up as it is: whole, in a short form, then by a wildcard.
func (t *table) named1(name string) *addresses {
	if a := t.whole(name); a != nil {
		return a
	}
	for _, full := range t.fullForms(name) {
		if a := t.whole(full); a != nil && a.short {
			return a
		}
	}
	for rest := name; ; {
		_, after, ok := strings.Cut(rest, ".")
		if !ok {
			return nil
		}
		if a := t.whole("*." + after); a != nil {
			return a
		}
		rest = after
	}
}

func (t *table) whole(name string) *addresses {
	if a := t.hosts[name]; a != nil {
		return a
	}
	return t.others[name]
}

// fullForms are what a short name may stand for: "catalog" in its own namespace, "catalog.shop", "catalog.shop.svc".
func (t *table) fullForms(name string) []string {
	first, rest, _ := strings.Cut(t.domain, ".")
	forms := []string{name + "." + t.namespace + "." + t.domain, name + "." + t.domain}
	if strings.HasSuffix(name, "."+first) && rest != "" {
		forms = append(forms, name+"."+rest)
	}
	return forms
}

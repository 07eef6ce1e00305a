package route

import (
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// CompileHost compiles a virtual host that came apart from the table's route configuration, of
// which it inherits. Whether requests use it can be asked.
func (t *Table) CompileHost(cfg *xdsresource.VirtualHost) (*VirtualHost, error) {
	c := compiler{cfg: t.Config}
	v, err := c.virtualHost(cfg)
	if err != nil {
		return nil, fmt.Errorf("virtual host %q: %w", cfg.Name, err)
	}
	for i, e := range v.Entries {
		if d := e.Direct; d != nil && len(d.Body) > int(t.Config.MaxDirectResponseBodySize) {
			return nil, fmt.Errorf("virtual host %q: route %d %q: direct_response.body of %d bytes is longer than max_direct_response_body_size_bytes of %q, %d",
				cfg.Name, i, e.Name, len(d.Body), t.Config.Name, t.Config.MaxDirectResponseBodySize)
		}
	}
	v.watched = true
	return v, nil
}

// TakeUsed reports whether a request was led to a virtual host of CompileHost since the last call.
func (v *VirtualHost) TakeUsed() bool { return v.used.Swap(false) }

// Edit is a table in the making. It begins as a copy of another one, with which it shares the compiled
// virtual hosts: what costs is the copy of the index of domains, once for all changes.
type Edit struct {
	t    Table
	gone map[*VirtualHost]bool
}

// Edit begins a change of a table, which itself stays as it is.
func (t *Table) Edit() *Edit {
	return &Edit{Table{t.Config, t.hosts.clone(), slices.Clone(t.vhosts), t.traces}, map[*VirtualHost]bool{}}
}

// Remove takes a virtual host away that the table has.
func (e *Edit) Remove(v *VirtualHost) {
	e.t.hosts.remove(v)
	e.gone[v] = true
}

// Add puts a virtual host of the table's CompileHost behind the others. The error names the domain that
// another one has; the table stays without it then.
func (e *Edit) Add(v *VirtualHost) error {
	if err := e.t.hosts.add(v); err != nil {
		return fmt.Errorf("virtual host %q: %w", v.Name, err)
	}
	e.t.traces = e.t.traces || v.traces
	if e.gone[v] { // it comes back
		delete(e.gone, v)
		return nil
	}
	e.t.vhosts = append(e.t.vhosts, v)
	return nil
}

// Table returns the changed table. The edit is over.
func (e *Edit) Table() *Table {
	if len(e.gone) > 0 {
		e.t.vhosts = slices.DeleteFunc(e.t.vhosts, func(v *VirtualHost) bool { return e.gone[v] })
	}
	return &e.t
}

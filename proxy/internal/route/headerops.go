package route

import (
	"fmt"

	"github.com/lateen-mesh/lateen/proxy/internal/format"
	"github.com/lateen-mesh/lateen/proxy/internal/header"
	"github.com/lateen-mesh/lateen/proxy/internal/xdsresource"
)

// Ops are header changes in the order to be applied: those of the most specific level first
// (weighted cluster, route, virtual host, table), so that a wider level's overwrite wins;
// with most_specific_header_mutations_wins the other way round.
type Ops []opsLevel

// opsLevel is one level's changes; removals come before additions, as in Envoy.
type opsLevel struct {
	remove []header.Key
	add    []op
}

type op struct {
	key      header.Key
	constant string
	value    *format.Formatter // nil: constant
	action   xdsresource.AppendAction
	keep     bool // an empty value is added, too
}

// ops compiles levels given from wide (table) to specific.
func (c *compiler) ops(levels ...*xdsresource.HeaderOps) (Ops, error) {
	var out Ops
	for i := range levels {
		l := levels[len(levels)-1-i]
		if c.cfg.MostSpecificHeaderMutationsWins {
			l = levels[i]
		}
		if len(l.Add) == 0 && len(l.Remove) == 0 {
			continue
		}
		level, err := compileLevel(l)
		if err != nil {
			return nil, err
		}
		out = append(out, level)
	}
	return out, nil
}

func compileLevel(l *xdsresource.HeaderOps) (opsLevel, error) {
	var out opsLevel
	for _, n := range l.Remove {
		k := header.KeyOf(n)
		if k.ID.Pseudo() {
			return out, fmt.Errorf("%q cannot be removed: a request needs it", n)
		}
		out.remove = append(out.remove, k)
	}
	for _, a := range l.Add {
		f, err := format.Compile(a.Value)
		if err != nil {
			return out, fmt.Errorf("header %q: %w", a.Name, err)
		}
		o := op{key: header.KeyOf(a.Name), action: a.Action, keep: a.KeepEmpty}
		if s, ok := f.Constant(); ok {
			o.constant = s
		} else {
			o.value = f
		}
		// There is one of each pseudo-header.
		if o.key.ID.Pseudo() && o.action == xdsresource.AppendIfExistsOrAdd {
			o.action = xdsresource.OverwriteIfExistsOrAdd
		}
		out.add = append(out.add, o)
	}
	return out, nil
}

// CompileOps compiles header changes that belong to no route (local replies, mirrors).
func CompileOps(l *xdsresource.HeaderOps) (Ops, error) {
	if len(l.Add) == 0 && len(l.Remove) == 0 {
		return nil, nil
	}
	level, err := compileLevel(l)
	if err != nil {
		return nil, err
	}
	return Ops{level}, nil
}

// Apply changes h. Values are formatted from c. Nothing is allocated but room in h.
func (o Ops) Apply(h *header.Map, c *format.Context) {
	for i := range o {
		for _, k := range o[i].remove {
			h.RemoveKey(k)
		}
		for j := range o[i].add {
			o[i].add[j].apply(h, c)
		}
	}
}

func (o *op) apply(h *header.Map, c *format.Context) {
	var exists bool
	if o.action != xdsresource.AppendIfExistsOrAdd && o.action != xdsresource.OverwriteIfExistsOrAdd {
		exists = h.Find(o.key, 0) >= 0
	}
	if o.action == xdsresource.AddIfAbsent && exists || o.action == xdsresource.OverwriteIfExists && !exists {
		return
	}
	set := o.action == xdsresource.OverwriteIfExistsOrAdd || o.action == xdsresource.OverwriteIfExists
	if o.value == nil {
		switch {
		case o.constant == "" && !o.keep:
		case set:
			h.SetKeyString(o.key, o.constant)
		default:
			h.AddKeyString(o.key, o.constant)
		}
		return
	}
	v := o.value.AppendOrEmpty(h.Build(), c)
	switch {
	case len(v) == 0 && !o.keep:
	case set:
		h.SetBuilt(o.key, v)
	default:
		h.AddBuilt(o.key, v)
	}
}

// Package table prints objects as kubectl does: one table for each kind, with the kind's columns.
//
// It decides nothing about which objects are printed. The command line imports it.
package table

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lateen-mesh/lateen/config"
	"github.com/lateen-mesh/lateen/config/schema"
)

// Options adjust Print.
type Options struct {
	// Now is what ages are counted to.
	Now time.Time
	// Wide adds the columns of -o wide.
	Wide bool
	// Namespace adds the column NAMESPACE.
	Namespace  bool
	NoHeaders  bool
	ShowLabels bool
}

// Print writes one table for each kind among the objects, in the order of their first
// appearance, with an empty line between two. With several kinds, names carry theirs.
func Print(w io.Writer, objects []*config.Object, opts Options) error {
	var kinds []*schema.Kind
	byKind := map[*schema.Kind][]*config.Object{}
	for _, o := range objects {
		if byKind[o.Kind] == nil {
			kinds = append(kinds, o.Kind)
		}
		byKind[o.Kind] = append(byKind[o.Kind], o)
	}
	for i, k := range kinds {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		if err := print(w, k, byKind[k], len(kinds) > 1, opts); err != nil {
			return err
		}
	}
	return nil
}

// ageOnly is printed for kinds without columns of their own.
var ageOnly = []schema.Column{{Name: "AGE"}}

func print(w io.Writer, k *schema.Kind, objects []*config.Object, qualified bool, opts Options) error {
	tw := tabwriter.NewWriter(w, 6, 4, 3, ' ', 0)
	columns := k.Columns
	if len(columns) == 0 {
		columns = ageOnly
	}
	if !opts.NoHeaders {
		var head []string
		if opts.Namespace && k.Namespaced {
			head = append(head, "NAMESPACE")
		}
		head = append(head, "NAME")
		for _, c := range columns {
			if !c.Wide || opts.Wide {
				head = append(head, c.Name)
			}
		}
		if opts.ShowLabels {
			head = append(head, "LABELS")
		}
		fmt.Fprintln(tw, strings.Join(head, "\t"))
	}
	for _, o := range objects {
		var row []string
		if opts.Namespace && k.Namespaced {
			row = append(row, o.Namespace)
		}
		name := o.Name
		if qualified {
			name = k.Resource() + "/" + o.Name
		}
		row = append(row, name)
		for _, c := range columns {
			switch {
			case c.Wide && !opts.Wide:
			case c.Status != nil:
				row = append(row, c.Status(o.Status))
			case c.Value == nil:
				row = append(row, age(o, opts.Now))
			default:
				row = append(row, c.Value(o.Spec))
			}
		}
		if opts.ShowLabels {
			row = append(row, schema.LabelString(o.Labels))
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// age is kubectl's: 42s, 6h13m, 12d.
func age(o *config.Object, now time.Time) string {
	if o.Created.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(max(now.Sub(o.Created), 0))
}

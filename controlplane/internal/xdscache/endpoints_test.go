package xdscache

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/controlplane/internal/translate"
)

// TestEndpointsFollow: what streams that subscribe to the endpoints of many clusters are given after random changes, by views of now and of some changes
// ago, is what is derived anew of the same snapshot.
func TestEndpointsFollow(t *testing.T) {
	const services = minShared + 20
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := newMesh(t)
		all := ""
		var names []string
		for i := range services {
			all += serviceYAML(fmt.Sprint("s", i)) + workloadYAML(fmt.Sprintf("w%d-0", i), fmt.Sprint("s", i), fmt.Sprintf("10.1.%d.1", i))
			names = append(names, clusterName(fmt.Sprint("s", i)))
		}
		m.apply(all)
		subs := []Subscription{
			byName(names),
			byName(append(slices.Clone(names[:minShared]), clusterName("late"))), // a service that comes later
			byName(names[minShared/2:]), // too few to be shared
		}
		streams := []*Proxy{proxy(t, "a", "10.9.0.1"), proxy(t, "b", "10.9.0.2"), proxy(t, "c", "10.9.0.3")}
		views := []*View{m.v}
		for step := range 60 {
			service := r.IntN(services)
			switch r.IntN(10) {
			case 0:
				views = append(views, m.apply(serviceYAML("late")+workloadYAML("late-0", "late", fmt.Sprintf("10.2.0.%d", step))))
			case 1: // nothing that endpoints follow from
				views = append(views, m.apply(fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d, namespace: shop}\n", step)))
			default:
				views = append(views, m.apply(workloadYAML(fmt.Sprintf("w%d-%d", service, r.IntN(3)), fmt.Sprint("s", service), fmt.Sprintf("10.3.%d.%d", step, 1+r.IntN(2)))))
			}
			for range r.IntN(4) { // some streams ask, some views behind
				v := views[len(views)-1-r.IntN(min(len(views), keepStates+2))]
				p, sub := streams[r.IntN(len(streams))], subs[r.IntN(len(subs))]
				got, anew := v.Resources(p, translate.EndpointType, sub), New(nil).View(v.snap).Resources(proxy(t, "new", "10.9.0.9"), translate.EndpointType, sub)
				if d := Compare(anew, got); len(d.Changed)+len(d.Removed) > 0 {
					t.Fatalf("seed %d, step %d: %d assignments are not what the snapshot has, %d are missing", seed, step, len(d.Changed), len(d.Removed))
				}
			}
		}
	}
}

// TestEndpointsOfAnOldView: a stream that still carries an old view through asks for names that nobody asked for before. What it is given then must not be
// taken for what a newer view, which others have asked already, goes on from.
func TestEndpointsOfAnOldView(t *testing.T) {
	m := newMesh(t)
	all := ""
	var names []string
	for i := range minShared + 1 {
		all += serviceYAML(fmt.Sprint("s", i)) + workloadYAML(fmt.Sprintf("w%d", i), fmt.Sprint("s", i), fmt.Sprintf("10.1.%d.1", i))
		names = append(names, clusterName(fmt.Sprint("s", i)))
	}
	asked, late := byName(names[:minShared]), byName(names)
	before := m.apply(all)
	p, q := proxy(t, "a", "10.9.0.1"), proxy(t, "b", "10.9.0.2")
	before.Resources(p, translate.EndpointType, asked)
	after := m.apply(workloadYAML(fmt.Sprintf("w%d", minShared), fmt.Sprint("s", minShared), "10.1.200.1"))
	after.Resources(p, translate.EndpointType, asked)
	old := before.Resources(q, translate.EndpointType, late)
	if d := Compare(old, after.Resources(q, translate.EndpointType, late)); len(d.Changed) != 1 || len(d.Removed) != 0 {
		t.Errorf("after the change of one endpoint %d assignments differ and %d are gone, want 1 and 0", len(d.Changed), len(d.Removed))
	}
}

package snapshot

//lint:file-ignore SA1019 Deprecated fields are read as well.

import (
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/controlplane/internal/model"
)

// TestPolicyMeansTheSameEverywhere: a policy is converted alike whether it stands in a rule, in a subset, or in settings of either for a
// port, with every field set.
func TestPolicyMeansTheSameEverywhere(t *testing.T) {
	for _, choice := range []int{0, 1, 2, 3} { // of the fields that exclude each other
		p := &networking.TrafficPolicy{}
		fill(p.ProtoReflect(), choice)
		p.PortLevelSettings = nil
		ports := &networking.TrafficPolicy{PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{
			Port:         &networking.PortSelector{Number: 80},
			LoadBalancer: p.LoadBalancer, ConnectionPool: p.ConnectionPool, OutlierDetection: p.OutlierDetection, Tls: p.Tls,
		}}}
		want := trafficPolicy(p, "", &problems{at: nowhere})
		whole, byPort := convert(t, p), convert(t, ports)

		if got := whole.Policy; !reflect.DeepEqual(got, want) {
			t.Errorf("%d: the rule's is %+v, want %+v", choice, got, want)
		}
		if got := whole.Subsets[0].Policy; !reflect.DeepEqual(got, want) {
			t.Errorf("%d: the subset's is %+v, want %+v", choice, got, want)
		}
		// What ports do not have.
		want.Tunnel, want.ProxyProtocol, want.RetryBudget = nil, model.ProxyProtocolNone, nil
		if got := &byPort.Policy.Ports[0].Policy; !reflect.DeepEqual(got, want) {
			t.Errorf("%d: the rule's for a port is %+v, want %+v", choice, got, want)
		}
		if got := &byPort.Subsets[0].Policy.Ports[0].Policy; !reflect.DeepEqual(got, want) {
			t.Errorf("%d: the subset's for a port is %+v, want %+v", choice, got, want)
		}
		for _, part := range []any{want.LoadBalancer, want.ConnectionPool, want.Outlier, want.TLS} {
			if v := reflect.ValueOf(part); v.IsNil() || v.Elem().IsZero() {
				t.Errorf("%d: %T says nothing, though every field is set", choice, part)
			}
		}
	}
}

func nowhere(string) model.Origin { return model.Origin{} }

// convert makes a rule with the policy, and with a subset that has it as well.
func convert(t *testing.T, p *networking.TrafficPolicy) *model.DestinationRule {
	t.Helper()
	o := events(t, "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a}\n")[0].Object
	d := &networking.DestinationRule{Host: "a", TrafficPolicy: p, Subsets: []*networking.Subset{{Name: "s", TrafficPolicy: p}}}
	return New().destinationRule(object{Object: o}, d, &problems{at: nowhere})
}

// fill sets every field of a message to something that is not its default; of fields that exclude each other the choice-th.
func fill(m protoreflect.Message, choice int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if o := fd.ContainingOneof(); o != nil && o.Fields().Get(choice%o.Fields().Len()) != fd {
			continue
		}
		switch {
		case fd.IsMap():
			v := m.NewField(fd)
			v.Map().Set(protoreflect.ValueOfString("a/b").MapKey(), value(v.Map().NewValue(), fd.MapValue(), choice))
			m.Set(fd, v)
		case fd.IsList():
			v := m.NewField(fd)
			v.List().Append(value(v.List().NewElement(), fd, choice))
			m.Set(fd, v)
		default:
			m.Set(fd, value(m.NewField(fd), fd, choice))
		}
	}
}

func value(fresh protoreflect.Value, fd protoreflect.FieldDescriptor, choice int) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		if fd.Message().FullName() != (&networking.TrafficPolicy_PortTrafficPolicy{}).ProtoReflect().Descriptor().FullName() {
			fill(fresh.Message(), choice)
		}
		return fresh
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(fd.Enum().Values().Get(1).Number())
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(7)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(7)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(7)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(7)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(7)
	}
	panic("a field of kind " + fd.Kind().String())
}

// TestNoFieldOfAPolicyIsIgnored takes one field at a time out of a full policy: what that is converted to must differ.
func TestNoFieldOfAPolicyIsIgnored(t *testing.T) {
	policy := func(change func(*networking.TrafficPolicy)) *networking.TrafficPolicy {
		p := &networking.TrafficPolicy{}
		fill(p.ProtoReflect(), 1)
		p.PortLevelSettings, p.Tunnel.Protocol = nil, "POST"
		change(p)
		return p
	}
	everyFieldCounts(t, policy(func(p *networking.TrafficPolicy) {
		// These and what is left take each other's place.
		p.LoadBalancer.LocalityLbSetting, p.LoadBalancer.WarmupDurationSecs = nil, nil
		p.LoadBalancer.GetConsistentHash().MinimumRingSize = 0
		p.LoadBalancer.ZoneAwareLbSetting.Enabled = wrapperspb.Bool(false)
	}))
	everyFieldCounts(t, policy(func(p *networking.TrafficPolicy) {
		p.LoadBalancer.ZoneAwareLbSetting, p.LoadBalancer.Warmup = nil, nil
		p.LoadBalancer.GetConsistentHash().HashAlgorithm = nil
		p.LoadBalancer.LocalityLbSetting.Enabled = wrapperspb.Bool(false)
	}))
}

func everyFieldCounts(t *testing.T, full *networking.TrafficPolicy) {
	t.Helper()
	with := trafficPolicy(full, "", &problems{at: nowhere})
	var walk func(m protoreflect.Message, above []protoreflect.FieldDescriptor, path string)
	walk = func(m protoreflect.Message, above []protoreflect.FieldDescriptor, path string) {
		m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			here := path + "." + fd.JSONName()
			less := proto.Clone(full).(*networking.TrafficPolicy)
			at := less.ProtoReflect()
			for _, up := range above {
				at = at.Get(up).Message()
			}
			at.Clear(fd)
			if reflect.DeepEqual(with, trafficPolicy(less, "", &problems{at: nowhere})) {
				t.Errorf("%s makes no difference", here)
			}
			if fd.Message() != nil && !fd.IsList() && !fd.IsMap() && fd.Message().FullName().Parent() != "google.protobuf" {
				walk(v.Message(), append(slices.Clone(above), fd), here)
			}
			return true
		})
	}
	walk(full.ProtoReflect(), nil, "")
}

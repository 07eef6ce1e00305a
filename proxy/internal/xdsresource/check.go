package xdsresource

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// message unpacks an Any into msg and judges it: the type must fit, unknown fields, fields
// that are not supported and fields that break the proto's own rules are recorded. It
// reports whether msg may be read.
func (p *parser) message(path string, a *anypb.Any, msg proto.Message) bool {
	a, err := fromTypedStruct(a)
	if err != nil {
		p.bad(path, "%v", err)
		return false
	}
	if got, want := a.MessageName(), msg.ProtoReflect().Descriptor().FullName(); got != want {
		p.bad(path, "type %s is not supported here, want %s", got, want)
		return false
	}
	if err := a.UnmarshalTo(msg); err != nil {
		p.bad(path, "%v", err)
		return false
	}
	p.check(path, msg)
	return true
}

// check judges a message that is already at hand, as message does.
func (p *parser) check(path string, msg proto.Message) {
	p.problems = append(p.problems, CheckFields(path, msg)...)
	if v, ok := msg.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			p.invalid(path, msg.ProtoReflect().Descriptor(), err)
		}
	}
}

// invalid turns the errors of protoc-gen-validate, which nest and name Go fields, into
// problems with proto paths.
func (p *parser) invalid(path string, desc protoreflect.MessageDescriptor, err error) {
	switch e := err.(type) {
	case interface{ AllErrors() []error }:
		for _, sub := range e.AllErrors() {
			p.invalid(path, desc, sub)
		}
	case interface {
		Field() string
		Reason() string
		Cause() error
	}:
		at, sub := protoField(desc, e.Field())
		if cause := e.Cause(); cause != nil {
			p.invalid(join(path, at), sub, cause)
			return
		}
		p.bad(join(path, at), "%s", e.Reason())
	default:
		p.bad(path, "%v", err)
	}
}

// protoField maps "VirtualHosts[2]" to "virtual_hosts[2]" and the element's descriptor.
func protoField(desc protoreflect.MessageDescriptor, goField string) (string, protoreflect.MessageDescriptor) {
	name, index, _ := strings.Cut(goField, "[")
	if index != "" {
		index = "[" + index
	}
	if desc == nil {
		return goField, nil
	}
	fields := desc.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if strings.EqualFold(strings.ReplaceAll(string(fd.Name()), "_", ""), strings.ReplaceAll(name, "_", "")) {
			if fd.IsMap() {
				return string(fd.Name()) + index, fd.MapValue().Message()
			}
			return string(fd.Name()) + index, fd.Message()
		}
	}
	oneofs := desc.Oneofs()
	for i := range oneofs.Len() { // a required oneof is named by its Go name
		if strings.EqualFold(strings.ReplaceAll(string(oneofs.Get(i).Name()), "_", ""), name) {
			return string(oneofs.Get(i).Name()), nil
		}
	}
	return goField, nil
}

// CheckFields walks every populated field of msg and returns a problem for each that this
// proxy does not support, and for fields that the proto does not even know. Parsers of
// filters call it for the messages listed in the support tables. It does not look inside
// Any, nor into messages of the types named by apart: whoever reads them checks them.
func CheckFields(path string, msg proto.Message, apart ...protoreflect.FullName) []Problem {
	c := fieldCheck{apart: apart}
	c.walk(place{field: path, index: -1}, msg.ProtoReflect())
	return c.problems
}

type fieldCheck struct {
	apart    []protoreflect.FullName
	problems []Problem
}

func (c *fieldCheck) bad(at *place, format string, args ...any) {
	c.problems = append(c.problems, Problem{at.String(), fmt.Sprintf(format, args...)})
}

// place is where a walk is. It is made a path only where there is a problem to report: a large
// configuration has a hundred thousand places.
type place struct {
	parent *place
	field  string
	key    string // of a map's entry
	index  int    // of a list's element; -1: this is none
	keyed  bool
}

func (p *place) String() string {
	here := p.field
	switch {
	case p.keyed:
		here = fmt.Sprintf("%s[%q]", here, p.key)
	case p.index >= 0:
		here = at(here, p.index)
	}
	if p.parent == nil {
		return here
	}
	return join(p.parent.String(), here)
}

func (c *fieldCheck) walk(at place, m protoreflect.Message) {
	name := m.Descriptor().FullName()
	if strings.HasPrefix(string(name), "google.protobuf.") || slices.Contains(c.apart, name) {
		return // Any, Struct, Duration and wrappers are leaves
	}
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		c.bad(&at, "%s has fields that this version does not know", name)
	}
	sup, known := supportTable()[name]
	// Range goes in no fixed order; problems are reported in the order of the proto.
	var room [16]protoreflect.FieldDescriptor
	fds := room[:0]
	m.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fds = append(fds, fd)
		return true
	})
	slices.SortFunc(fds, func(a, b protoreflect.FieldDescriptor) int { return a.Index() - b.Index() })
	for _, fd := range fds {
		here := place{parent: &at, field: string(fd.Name()), index: -1}
		if !known {
			c.bad(&here, "message %s is not supported", name)
			return
		}
		switch sup[here.field] {
		case harmless:
			continue
		case unsupported:
			c.bad(&here, "this field is not supported; remove it")
			continue
		}
		c.value(here, fd, m.Get(fd))
	}
}

// value goes into the messages of a field.
func (c *fieldCheck) value(here place, fd protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case fd.IsMap():
		if fd.MapValue().Message() == nil {
			return
		}
		v.Map().Range(func(k protoreflect.MapKey, mv protoreflect.Value) bool {
			here.key, here.keyed = k.String(), true
			c.walk(here, mv.Message())
			return true
		})
	case fd.Message() == nil:
	case fd.IsList():
		for i := range v.List().Len() {
			here.index = i
			c.walk(here, v.List().Get(i).Message())
		}
	default:
		c.walk(here, v.Message())
	}
}

// verdict says what a populated field means for this proxy.
type verdict uint8

const (
	unsupported verdict = iota
	supported
	harmless // read by nobody, and changes nothing that a client or an upstream could see
)

// supportTable is the lookup form of supportedFields and harmlessFields.
var supportTable = sync.OnceValue(func() map[protoreflect.FullName]map[string]verdict {
	t := make(map[protoreflect.FullName]map[string]verdict, len(supportedFields)+len(upstreamFields)+len(filterFields))
	for _, table := range []map[string]string{supportedFields, upstreamFields, filterFields} {
		for msg, list := range table {
			fields := map[string]verdict{}
			for f := range strings.FieldsSeq(list) {
				fields[f] = supported
			}
			t[protoreflect.FullName(msg)] = fields
		}
	}
	for _, h := range slices.Concat(harmlessFields, upstreamHarmless) {
		fields := t[protoreflect.FullName(h.message)]
		if fields == nil {
			fields = map[string]verdict{}
			t[protoreflect.FullName(h.message)] = fields
		}
		for f := range strings.FieldsSeq(h.fields) {
			fields[f] = harmless
		}
	}
	return t
})

// AsTypedStruct returns the type URL and value of a TypedStruct in either of its forms
// (xds.type.v3 and the older udpa.type.v1). ok is false for any other type; err is set for
// a TypedStruct that cannot be read.
func AsTypedStruct(a *anypb.Any) (typeURL string, value *structpb.Struct, ok bool, err error) {
	switch a.MessageName() {
	case "xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct":
	default:
		return "", nil, false, nil
	}
	msg, err := a.UnmarshalNew()
	if err != nil {
		return "", nil, true, err
	}
	ts := msg.(interface {
		GetTypeUrl() string
		GetValue() *structpb.Struct
	})
	return ts.GetTypeUrl(), ts.GetValue(), true, nil
}
